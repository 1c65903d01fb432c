"""A package with plugins, as pip would install it: modules, and the metadata with its entry points."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, code: str, *,
    name: str = "mine", leads_to: str = "", package: str = "package", entry_points: str = "",
) -> str:  # fmt: skip
    """Install version 0.1.0 of a package, whose plugin ``name`` is a module with this code.

    ``leads_to``: what its entry point names instead of that module. ``entry_points``: the whole list of them, in
    place of one. Returns the name of the module.
    """
    number = next(_NUMBERS)  # a module is imported once in a process
    module = f"made_plugin_{number}"
    site = folder / f"site-{number}"
    metadata = site / f"{package}-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{module}.py").write_text(code, "utf-8")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points or f"[capivara.{kind}]\n{name} = {leads_to or module}\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, module, raising=False)
    return module
