"""Find commands and plugins by file name. Each file is one command or one plugin.

``load("captioners", "blip2:Salesforce/blip2-opt-2.7b", setup=setup)`` imports ``stages/captioners/blip2.py`` and calls
its ``load(variant, *, setup)``. Other packages add plugins under the entry-point group ``capivara.captioners``.
Names and descriptions are read without importing the file. ``capivara --help`` needs this module, so it imports
nothing slow at the top.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import CapivaraError, UsageError, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PACKAGE = os.path.dirname(__file__)  # noqa: PTH120  pathlib would take a tenth of the time of --help
COMMANDS = ("stages", "commands")
"""The folders with one file per subcommand."""
KINDS = {
    "captioners": "stages/captioners",
    "translators": "stages/translators",
    "rewriters": "stages/rewriters",
    "importers": "stages/importers",
    "evalsets": "evaluation/sets",
    "exporters": "commands/exporters",
    "engines": "pipeline/launchers",
}
"""Each kind of plugin -> its folder in the package. The kind is also the name of its entry-point group."""


def command_names() -> dict[str, str]:
    """Every subcommand -> the folder of its file."""
    return {name: folder for folder in COMMANDS for name in _files(folder)}


def load_command(name: str) -> Any:
    """Import the file of a subcommand and return its ``Stage`` or ``Command``. Raises ``UsageError`` if unknown."""
    folder = command_names().get(name)
    if folder is None:
        error = unknown("command", name, command_names())
        raise UsageError(error.message, error.hint)
    return getattr(importlib.import_module(f"capivara_cli.{folder}.{name}"), name)


def recipes() -> dict[str, str]:
    """Every recipe of ``capivara adapt --recipe`` -> its file."""
    folder = os.path.join(PACKAGE, "commands/recipes")  # noqa: PTH118
    files = {entry.removesuffix(".toml"): os.path.join(folder, entry) for entry in sorted(os.listdir(folder))}  # noqa: PTH118, PTH208
    return {name: file for name, file in files.items() if file.endswith(".toml")}


def first_line(folder: str, name: str) -> str:
    """The first line of the docstring of ``folder/name.py``."""
    with open(_path(folder, name), encoding="utf-8") as file:
        return file.readline().strip().strip('"').replace("``", "")


def docstring(folder: str, name: str) -> str:
    """The whole docstring of ``folder/name.py``; "" if there is no such file."""
    import ast

    if not os.path.isfile(_path(folder, name)):  # noqa: PTH113
        return ""
    with open(_path(folder, name), encoding="utf-8") as file:
        return ast.get_docstring(ast.parse(file.read())) or ""


def names(kind: str) -> list[str]:
    """The names of one kind of plugin: the files of its folder, and the plugins of other packages."""
    own = {name.replace("_", "-") for name in _files(KINDS[kind])}
    return sorted(own | _entry_points(kind).keys())


def describe(kind: str, name: str) -> str:
    """The first line of a plugin's docstring."""
    if _own(kind, name):
        return docstring(KINDS[kind], name.replace("-", "_")).partition("\n")[0]
    return f"from {_entry_points(kind)[name].value}"


def module(kind: str, name: str) -> Any:
    """Import one plugin and return its module, ``Guarded`` if it is part of another package.

    Raises ``CapivaraError`` with the known names if there is no such plugin, ``PluginError`` if it cannot be imported.
    """
    if _own(kind, name):
        return importlib.import_module(f"capivara_cli.{KINDS[kind].replace('/', '.')}.{name.replace('-', '_')}")
    if (entry := _entry_points(kind).get(name)) is not None:
        from capivara_cli.plugins import Guarded, Origin  # a third of the time of --help

        origin = Origin.of(kind, name, entry)
        with origin.blamed():
            return Guarded(origin, entry.load())
    raise _unknown(kind, name)


def origin(kind: str, spec: str) -> str:
    """The kind, name, package and version of the plugin ``name`` or ``name:variant`` of another package, for messages
    and fingerprints; "" for one of capivara's own, and if there is none."""
    name = spec.partition(":")[0]
    if _own(kind, name) or (entry := _entry_points(kind).get(name)) is None:
        return ""
    from capivara_cli.plugins import Origin

    return str(Origin.of(kind, name, entry))


def identity(kind: str, spec: str, **context: Any) -> str | None:
    """What decides the results of a plugin of capivara beside its options, such as the version of its model: what its
    function ``identity`` returns, and "" if it has none. None if that is not known on this machine yet."""
    name, _, variant = spec.partition(":")
    found = getattr(module(kind, name), "identity", None) if _own(kind, name) else None
    return found(variant, **context) if found else ""


def check(kind: str, spec: str) -> None:
    """Raise ``CapivaraError`` if ``name`` or ``name:variant`` is not a plugin. The plugin is not imported."""
    name = spec.partition(":")[0]
    if not _own(kind, name) and name not in _entry_points(kind):
        raise _unknown(kind, name)


def load(kind: str, spec: str, **context: Any) -> Any:
    """Load the plugin ``name`` or ``name:variant``: returns ``module.load(variant, **context)``, as in ``module``."""
    name, _, variant = spec.partition(":")
    plugin = module(kind, name)
    from capivara_cli.plugins import guarded_like

    return guarded_like(plugin, plugin.load(variant, **context))


def _unknown(kind: str, name: str) -> CapivaraError:
    return unknown(kind.removesuffix("s"), name, names(kind))


def _files(folder: str) -> list[str]:
    entries = sorted(os.listdir(os.path.join(PACKAGE, folder)))  # noqa: PTH118, PTH208
    return [entry.removesuffix(".py") for entry in entries if entry.endswith(".py") and not entry.startswith("_")]


def _own(kind: str, name: str) -> bool:
    return not name.startswith("_") and os.path.isfile(_path(KINDS[kind], name.replace("-", "_")))  # noqa: PTH113


def _path(folder: str, name: str) -> str:
    return os.path.join(PACKAGE, folder, f"{name}.py")  # noqa: PTH118


def _entry_points(kind: str) -> dict[str, EntryPoint]:
    """The plugins of other packages by name. A package with a damaged list of entry points is named and left out."""
    from importlib.metadata import entry_points  # 20 ms: only where a name is looked up

    group = f"capivara.{kind}"
    try:
        found = list(entry_points(group=group))
    except Exception:  # noqa: BLE001  one damaged list of any package, and there is no answer at all
        found = list(_readable_entry_points(group))
    return {entry.name: entry for entry in found}


def _readable_entry_points(group: str) -> Iterator[EntryPoint]:
    from importlib.metadata import distributions

    from capivara_cli import console

    for dist in distributions():
        name = "?"
        try:
            name = dist.name
            yield from dist.entry_points.select(group=group)
        except Exception as error:  # noqa: BLE001  damaged metadata of another package may raise anything
            console.warn_once(f"package {name}: its entry points cannot be read: {error}")
