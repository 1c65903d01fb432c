"""Plugins found by file name: one file, one captioner / translator / importer …, listed without being imported.

``load("captioners", "blip2:Salesforce/blip2-opt-2.7b", device="cpu")`` imports ``captioners/blip2.py`` and calls its
``load(variant, *, device)``. Other packages add theirs under the entry-point group ``capivara.captioners``.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from capivara_cli.errors import unknown

PACKAGE = Path(__file__).parent
KINDS = ("captioners", "translators", "rewriters", "importers", "evalsets", "exporters", "engines")


def names(kind: str) -> list[str]:
    """The names of one kind: the files of its folder, then what other packages registered."""
    own = {path.stem.replace("_", "-") for path in (PACKAGE / kind).glob("*.py") if not path.name.startswith("_")}
    return sorted(own | _entry_points(kind).keys())


def describe(kind: str, name: str) -> str:
    """The first line of a plugin's docstring, read without importing it."""
    path = PACKAGE / kind / f"{name.replace('-', '_')}.py"
    if not path.is_file():
        return f"from {_entry_points(kind)[name].value}"
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]


def module(kind: str, name: str) -> ModuleType:
    """Import one plugin; an unknown name raises the error that lists the known ones."""
    path = PACKAGE / kind / f"{name.replace('-', '_')}.py"
    if path.is_file() and not name.startswith("_"):
        return importlib.import_module(f"capivara_cli.{kind}.{path.stem}")
    if (entry := _entry_points(kind).get(name)) is not None:
        return entry.load()
    raise unknown(kind.removesuffix("s"), name, names(kind))


def check(kind: str, spec: str) -> None:
    """Raise now if ``name:variant`` names no plugin, before anything expensive happens."""
    name = spec.partition(":")[0]
    if not (PACKAGE / kind / f"{name.replace('-', '_')}.py").is_file() and name not in _entry_points(kind):
        raise unknown(kind.removesuffix("s"), name, names(kind))


def load(kind: str, spec: str, **context: Any) -> Any:
    """Load ``name`` or ``name:variant`` of a kind: ``module.load(variant, **context)``."""
    name, _, variant = spec.partition(":")
    return module(kind, name).load(variant, **context)


def _entry_points(kind: str) -> dict[str, Any]:
    from importlib.metadata import entry_points  # 20 ms: only where a name is looked up

    return {entry.name: entry for entry in entry_points(group=f"capivara.{kind}")}
