"""Plugins of other packages: what their metadata registers, found without importing them.

``importlib.metadata`` would read the metadata of every installed package, which takes 0.1 s. Only packages that have a
group ``capivara.KIND`` are handed to it. ``capivara --help`` needs this module, so it imports nothing slow at the top.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_LIST = "entry_points.txt"
_METADATA = (".dist-info", ".egg-info")


def entry_points(kind: str) -> dict[str, list[EntryPoint]]:
    """The plugins of a kind by name: those of all packages with that name, the first on the import path first.

    A package whose list of entry points is damaged is named in a warning and left out.
    """
    found: dict[str, list[EntryPoint]] = {}
    folders = list(_folders_with(f"capivara.{kind}"))
    if not folders:
        return found
    from importlib.metadata import Distribution  # 25 ms
    from pathlib import Path

    seen = set()
    for folder in folders:
        dist = Distribution.at(Path(folder))
        name, version = _name_and_version(folder)
        if name in seen:  # an older copy of the package, which Python does not import either
            continue
        seen.add(name)
        try:
            entries = list(dist.entry_points.select(group=f"capivara.{kind}"))
        except Exception as error:  # noqa: BLE001  damaged metadata of another package may raise anything
            from capivara_cli import console

            console.warn_once(f"package {name} {version}: its entry points cannot be read: {error}".replace("\n", " "))
            continue
        for entry in entries:
            found.setdefault(entry.name, []).append(entry)
    return found


def package_of(entry: EntryPoint) -> str:
    """The package of an entry point and its version: "my-package 0.1.0"; "" if it is not known."""
    dist = getattr(entry, "dist", None)
    if dist is None:
        return ""
    name, version = _name_and_version(os.path.basename(str(getattr(dist, "_path", ""))))  # noqa: PTH119
    try:
        return f"{dist.name or name} {dist.version or version}"
    except Exception:  # noqa: BLE001  damaged metadata of another package may raise anything
        return f"{name} {version}".strip()


def docstring(entry: EntryPoint) -> str:
    """The docstring of the module that an entry point leads to, read without importing it; "" if that fails."""
    import ast

    try:
        path = _source(entry.value.partition(":")[0].strip())
        if path is None:
            return ""
        with open(path, encoding="utf-8") as file:
            return ast.get_docstring(ast.parse(file.read())) or ""
    except Exception:  # noqa: BLE001  the finders of other packages may raise anything
        return ""


def _source(module: str) -> str | None:
    """The source file of a module. Python's own way would import the packages around it."""
    places: list[str] | None = None
    spec = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        finders = (finder.find_spec(name, places) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((each for each in finders if each is not None), None)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return spec.origin if spec is not None and spec.has_location else None


def _folders_with(group: str) -> Iterator[str]:
    """The folders of metadata on the import path whose list of entry points has a group."""
    mark = f"[{group}]".encode()
    for place in dict.fromkeys(sys.path):
        try:
            names = sorted(os.listdir(place or "."))  # noqa: PTH208  pathlib would take a tenth of the time of --help
        except OSError:  # an archive, or no such folder
            continue
        for name in names:
            if name.endswith(_METADATA) and mark in _content(f"{place or '.'}/{name}/{_LIST}"):
                yield f"{place or '.'}/{name}"


def _content(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY)  # a third of the time of ``open``, for each of the installed packages
    except OSError:
        return b""
    try:
        return os.read(file, 1 << 20)
    except OSError:
        return b""
    finally:
        os.close(file)


def _name_and_version(folder: str) -> tuple[str, str]:
    """``…/my_package-0.1.0.dist-info`` -> ("my-package", "0.1.0"), as pip writes the names of these folders."""
    name, _, version = os.path.basename(folder).rpartition(".")[0].partition("-")  # noqa: PTH119
    return name.lower().replace("_", "-").replace(".", "-"), version.partition("-py")[0]
