"""Plugins of other packages: what their metadata registers, found without importing them.

``importlib.metadata`` would read the metadata of every installed package, and import the parsers of e-mail and zip
files: 0.1 s, which ``capivara --help`` has not. Here the lists of entry points are looked through for the groups
``capivara.KIND``, which takes 4 ms with two hundred packages. Packages in zip archives are not found.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_LIST = "entry_points.txt"
_METADATA = (".dist-info", ".egg-info")
_GROUP = b"[capivara."
_DOCSTRING = r"""(?s)(?:\s*(?:#[^\n]*)?\n)*[rRuU]?(\"{3}|'{3}|"|')(.*?)\1"""


class EntryPoint:
    """A plugin: its name, MODULE or MODULE:OBJECT, and the folder of the metadata of its package."""

    def __init__(self, name: str, value: str, folder: str) -> None:
        self.name, self.value, self.folder = name, value, folder

    @property
    def is_reference(self) -> bool:
        """Whether the value is of the form MODULE or MODULE:OBJECT."""
        module, colon, names = self.value.partition(":")
        return all(each.isidentifier() for each in [*module.split("."), *(names.split(".") if colon else [])])

    @property
    def module(self) -> str:
        """The module that the value names."""
        return self.value.partition(":")[0].strip()

    def load(self) -> Any:
        """Import the module, and return it or its object. Raises whatever the import raises."""
        found: Any = importlib.import_module(self.module)
        for name in filter(None, self.value.partition(":")[2].split(".")):
            found = getattr(found, name)
        return found

    @property
    def package(self) -> str:
        """The package and its version: "my-package 0.1.0"."""
        name, version = _of_folder(self.folder)
        content = _content(f"{self.folder}/METADATA") or _content(f"{self.folder}/PKG-INFO")
        for line in content.decode("utf-8", "replace").splitlines():
            key, colon, value = line.partition(":")
            if not colon:  # the end of the head
                break
            name, version = value.strip() if key == "Name" else name, value.strip() if key == "Version" else version
        return f"{name} {version}".strip()

    def docstring(self) -> str:
        """The docstring of the module, read without importing it; "" if that fails."""
        try:
            with open(_source(self.module), encoding="utf-8") as file:
                found = re.match(_DOCSTRING, file.read())
        except Exception:  # noqa: BLE001  the finders of other packages may raise anything
            return ""
        return found[2].strip() if found else ""


def entry_points(kind: str) -> dict[str, list[EntryPoint]]:
    """The plugins of a kind by name: those of all packages with that name, the first on the import path first.

    A package whose list of entry points is damaged is named in a warning and left out.
    """
    found: dict[str, list[EntryPoint]] = {}
    for folder, lines in _lists(tuple(map(_place, sys.path))):
        try:
            entries = list(_section(lines, f"capivara.{kind}"))
        except ValueError as error:
            from capivara_cli import console

            package = EntryPoint("", "", folder).package
            console.warn_once(f"package {package}: its entry points cannot be read: {error}")
            continue
        for name, value in entries:
            found.setdefault(name, []).append(EntryPoint(name, value, folder))
    return found


def _section(lines: Sequence[str], group: str) -> Iterator[tuple[str, str]]:
    """The names and values of a group. Raises ``ValueError`` for a line that is neither [GROUP] nor NAME = VALUE."""
    inside = ""
    for line in map(str.strip, lines):
        if line.startswith("[") and line.endswith("]"):
            inside = line[1:-1].strip()
        elif line and line[0] not in "#;":
            name, equals, value = line.partition("=")
            if not equals or not name.strip() or not inside:
                raise ValueError(f"{line!r} is not of the form NAME = MODULE:OBJECT")
            if inside == group:
                yield name.strip(), value.partition(" #")[0].partition("[")[0].strip()


def _place(place: str) -> tuple[str, int]:
    """A folder of the import path with its time, which changes when a package is installed or removed."""
    try:
        return place or ".", os.stat(place or ".").st_mtime_ns  # noqa: PTH116  pathlib would take a tenth of --help
    except OSError:
        return place, 0


@functools.lru_cache(1)
def _lists(places: tuple[tuple[str, int], ...]) -> list[tuple[str, list[str]]]:
    """The folder of metadata, and the lines of the list of entry points, of every package with plugins of capivara.

    Of two copies of a package, the first counts: Python imports that one.
    """
    found, seen = [], set()
    for place in dict.fromkeys(place for place, _ in places):
        try:
            names = sorted(os.listdir(place))  # noqa: PTH208
        except OSError:  # an archive, or no such folder
            continue
        for name in names:
            if not name.endswith(_METADATA):
                continue
            content = _content(f"{place}/{name}/{_LIST}")
            if _GROUP in content and (package := _of_folder(name)[0]) not in seen:
                seen.add(package)
                found.append((f"{place}/{name}", content.decode("utf-8", "replace").splitlines()))
    return found


def _content(path: str) -> bytes:
    """The content of a small file; b"" if it cannot be read."""
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


def _of_folder(folder: str) -> tuple[str, str]:
    """``…/my_package-0.1.0.dist-info`` -> ("my-package", "0.1.0"), as pip writes the names of these folders."""
    name, _, version = os.path.basename(folder).rpartition(".")[0].partition("-")  # noqa: PTH119
    return re.sub(r"[-_.]+", "-", name).lower(), version.partition("-py")[0]


def _source(module: str) -> str:
    """The source file of a module. Python's own way would import the packages around it.

    Raises ``ImportError`` if there is none.
    """
    places: list[str] | None = None
    spec: Any = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        finders = (finder.find_spec(name, places) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((each for each in finders if each is not None), None)
        if spec is None:
            raise ImportError(name)
        places = list(spec.submodule_search_locations or [])
    if not spec.has_location:
        raise ImportError(module)
    return str(spec.origin)
