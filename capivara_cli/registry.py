"""Find commands and plugins by file name. Each file is one command or one plugin.

``load("captioners", "blip2:Salesforce/blip2-opt-2.7b", setup=setup)`` imports ``stages/captioners/blip2.py`` and calls
its ``load(variant, *, setup)``. Other packages add plugins under the entry-point group ``capivara.captioners``, and
stages and commands under ``capivara.stages`` and ``capivara.commands``. Names and descriptions are read without
importing the file. ``capivara --help`` needs this module, so it imports nothing slow at the top.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from capivara_cli.entry_points import EntryPoint, entry_points
from capivara_cli.errors import CapivaraError, UsageError, unknown

if TYPE_CHECKING:
    from capivara_cli.plugin_errors import Origin

PACKAGE = os.path.dirname(__file__)  # noqa: PTH120  pathlib would take a tenth of the time of --help
COMMANDS = ("stages", "commands")
"""The folders with one file per subcommand, which are also the kinds of subcommands that other packages add."""
KINDS = {
    "captioners": "stages/captioners",
    "translators": "stages/translators",
    "rewriters": "stages/rewriters",
    "importers": "stages/importers",
    "evalsets": "evaluation/sets",
    "exporters": "commands/exporters",
    "engines": "pipeline/launchers",
    "identifiers": "languages/identifiers",
    "stages": "stages",
    "commands": "commands",
}
"""Each kind of plugin -> its folder in the package. The kind is also the name of its entry-point group."""


def command_names() -> dict[str, str]:
    """Every subcommand of capivara itself -> the folder of its file."""
    return {name: folder for folder in COMMANDS for name in _files(folder)}


def added_commands() -> dict[str, str]:
    """Every subcommand that another package adds -> its kind, "stages" or "commands"."""
    own = command_names()
    return {name: kind for kind in COMMANDS for name in sorted(entry_points(kind)) if name not in own}


def command_kind(name: str) -> str:
    """The kind of a subcommand, "stages" or "commands"; "" if there is none of this name."""
    return command_names().get(name) or added_commands().get(name, "")


def command_docstring(name: str) -> str:
    """The docstring of the file of a subcommand, read without importing it; "" for an unknown name."""
    return _docstring(kind, name) if (kind := command_kind(name)) else ""


def load_command(name: str) -> Any:
    """Import the file of a subcommand and return its ``Stage`` or ``Command``.

    Raises ``UsageError`` if it is unknown, ``PluginError`` for one of another package that cannot be used.
    """
    folder = command_names().get(name)
    if folder is not None:
        return getattr(importlib.import_module(f"capivara_cli.{folder}.{name}"), name)
    added = added_commands()
    if name not in added:
        error = unknown("command", name, [*command_names(), *added])
        raise UsageError(error.message, error.hint)
    return _added_command(added[name], name)


def _added_command(kind: str, name: str) -> Any:
    """The stage or command of another package: what its entry point names, or what is called as its module is."""
    from types import ModuleType

    from capivara_cli.plugin_errors import Guarded

    plugin = module(kind, name)
    found, origin = Guarded.inside(plugin), Guarded.origin_of(plugin)
    if isinstance(found, ModuleType):
        found = vars(found).get(name.replace("-", "_"))
    of_package = getattr(type(found), "of_package", None)
    if of_package is None or origin is None:
        raise _no_command(kind, name, origin)
    return of_package(found, origin)


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
    """The names of one kind of plugin: the files of its folder, and the plugins of other packages.

    A plugin of another package with a name of capivara is named in a warning, and so are two with the same name.
    """
    own, added = _own_names(kind), entry_points(kind)
    for name in added:
        if taken := clash(kind, name):
            from capivara_cli import console

            console.warn_once(taken)
    return sorted(own | added.keys())


def describe(kind: str, name: str) -> str:
    """The first line of a plugin's docstring, read without importing it; for one without, where it comes from."""
    first = _docstring(kind, name).partition("\n")[0]
    if kind in COMMANDS:
        first = first.partition(": capivara ")[0]  # an example may follow
    return first if first or _own(kind, name) else f"from {entry_points(kind)[name][0].value}"


def module(kind: str, name: str) -> Any:
    """Import one plugin and return its module, ``Guarded`` if it is part of another package.

    Raises ``CapivaraError`` with the known names if there is no such plugin, ``PluginError`` if it cannot be imported
    or if several packages have one of this name.
    """
    if _own(kind, name):
        return importlib.import_module(_own_module(kind, name))
    if not (entries := entry_points(kind).get(name)):
        raise _unknown(kind, name)
    from capivara_cli.plugin_errors import Guarded, PluginError  # a third of the time of --help

    if taken := clash(kind, name):
        raise PluginError(taken, "uninstall one of them")
    origin = _origin(kind, name, entries[0])
    if not entries[0].is_reference:
        raise origin.fault(f"its entry point {entries[0].value!r} is not MODULE or MODULE:OBJECT")
    with origin.blamed():
        return Guarded(origin, entries[0].load())


def origin(kind: str, spec: str) -> str:
    """``origin_of`` as text, for messages and fingerprints; "" for a plugin of capivara's own, and if there is none."""
    return str(origin_of(kind, spec) or "")


def origin_of(kind: str, spec: str) -> Origin | None:
    """The kind, name, package and version of the plugin ``name`` or ``name:variant`` of another package; None for one
    of capivara's own, and if there is none."""
    name = spec.partition(":")[0]
    if _own(kind, name) or not (entries := entry_points(kind).get(name)):
        return None
    return _origin(kind, name, entries[0])


def source_of(kind: str, name: str) -> str:
    """The module, or MODULE:OBJECT, of a plugin."""
    if _own(kind, name):
        return _own_module(kind, name)
    return entry_points(kind)[name][0].value


def clash(kind: str, name: str) -> str:
    """What is wrong with a name that is taken, by capivara or by two packages; "" if it is not.

    Stages and commands share their names.
    """
    if not (entries := entry_points(kind).get(name, [])):
        return ""
    first = _origin(kind, name, entries[0])
    if name in command_names() if kind in COMMANDS else _own(kind, name):
        return f"{first}: capivara has one of this name, which is used instead"
    others = [each.package for each in entries[1:]]
    for other in COMMANDS if kind in COMMANDS else ():
        others += [each.package for each in entry_points(other).get(name, []) if other != kind]
    return f"{first}: {' and '.join(others)} has one of this name, too" if others else ""


def identity(kind: str, spec: str, **context: Any) -> str | None:
    """What decides the results of a plugin of capivara beside its options, such as the version of its model: what its
    function ``identity`` returns, and "" if it has none. None if that is not known on this machine yet."""
    name, _, variant = spec.partition(":")
    found = getattr(module(kind, name), "identity", None) if _own(kind, name) else None
    return found(variant, **context) if found else ""


def check(kind: str, spec: str) -> None:
    """Raise ``CapivaraError`` if ``name`` or ``name:variant`` is not a plugin. The plugin is not imported."""
    name = spec.partition(":")[0]
    if not _own(kind, name) and name not in entry_points(kind):
        raise _unknown(kind, name)


def load(kind: str, spec: str, **context: Any) -> Any:
    """Load the plugin ``name`` or ``name:variant``: returns ``module.load(variant, **context)``, as in ``module``."""
    name, _, variant = spec.partition(":")
    plugin = module(kind, name)
    from capivara_cli.plugin_errors import guarded_like

    return guarded_like(plugin, plugin.load(variant, **context))


def _unknown(kind: str, name: str) -> CapivaraError:
    return unknown(kind.removesuffix("s"), name, names(kind))


def _no_command(kind: str, name: str, origin: Origin | None) -> Exception:
    kind = kind.removesuffix("s")
    what = f"has no {kind} {name.replace('-', '_')!r}: write @{kind}({name!r}, Options)"
    return RuntimeError(f"{name}: {what}") if origin is None else origin.fault(what)


def _origin(kind: str, name: str, entry: EntryPoint) -> Origin:
    from capivara_cli.plugin_errors import Origin

    return Origin.of(kind, name, entry)


def _docstring(kind: str, name: str) -> str:
    if _own(kind, name):
        return docstring(KINDS[kind], name.replace("-", "_"))
    entries = entry_points(kind).get(name)
    return entries[0].docstring() if entries else ""


def _files(folder: str) -> list[str]:
    entries = sorted(os.listdir(os.path.join(PACKAGE, folder)))  # noqa: PTH118, PTH208
    return [entry.removesuffix(".py") for entry in entries if entry.endswith(".py") and not entry.startswith("_")]


def _own_names(kind: str) -> set[str]:
    return {name.replace("_", "-") for name in _files(KINDS[kind])}


def _own_module(kind: str, name: str) -> str:
    return f"capivara_cli.{KINDS[kind].replace('/', '.')}.{name.replace('-', '_')}"


def _own(kind: str, name: str) -> bool:
    return not name.startswith("_") and os.path.isfile(_path(KINDS[kind], name.replace("-", "_")))  # noqa: PTH113


def _path(folder: str, name: str) -> str:
    return os.path.join(PACKAGE, folder, f"{name}.py")  # noqa: PTH118
