"""Images in one folder per class: match folders to classes, and read the samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.sets._images import class_mapping, folded, lines_of
from capivara_cli.shards.names import SYSTEM_FOLDER
from capivara_cli.shards.sample import Sample, has_image_suffix
from capivara_cli.storage.files import special_kind

NAME_LISTS = ("classnames.txt", "labelmap.txt", "labels.txt")
"""Files beside numbered folders that list the names of the classes."""


def is_image(path: Path) -> bool:
    return has_image_suffix(path) and not path.name.startswith(".")


def class_folders(root: Path) -> list[Path]:
    """The subfolders with images, sorted by name."""
    if not root.is_dir():
        return []
    return [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and not path.name.startswith(".") and path.name != SYSTEM_FOLDER and _holds_images(path)
    ]


def _holds_images(folder: Path) -> bool:
    return any(is_image(path) for path in folder.iterdir())


def split_folder(root: Path, names: Sequence[str], whole: bool) -> Path | None:
    """The folder of a split: the first of ``names`` in ``root`` with class folders, or ``root`` itself if ``whole``.

    None if there is none.
    """
    for name in names:
        if class_folders(root / name):
            return root / name
    return root if whole and class_folders(root) else None


def samples(classes: Sequence[tuple[Path, int]]) -> Iterator[Sample]:
    """The images of each (folder, class), sorted by class and name; a key is ``folder/file``."""
    for folder, number in sorted(classes, key=lambda each: (each[1], each[0].name)):
        for path in sorted(path for path in folder.iterdir() if is_image(path)):
            if kind := special_kind(path):
                raise CapivaraError(f"{path}: is {kind}, not a file", "remove it from the folder")
            members = {path.suffix[1:].lower(): path.read_bytes(), "cls": str(number).encode()}
            yield Sample(f"{folder.name}/{path.stem}", members)


def matched(
    folders: Sequence[Path], names: Sequence[str], official: Sequence[str], *, reordered: bool, others: bool
) -> list[tuple[Path, int]]:
    """The folders with the class of each, matched by English name, by the set's official folder name, or by number.

    ``reordered``: copies of the set differ in the numbers of the classes, so numbered folders need a list of names.
    ``others``: ignore folders of other classes instead of raising. Raises ``CapivaraError`` for a folder that is not a
    class, and for a class without a folder.
    """
    if all(folder.name.isdecimal() for folder in folders):
        return _numbered(folders, names, reordered)
    known = {folded(name): number for number, name in enumerate(names)}
    known.update((folded(name), number) for number, name in enumerate(official))
    found = [(folder, known[folded(folder.name)]) for folder in folders if folded(folder.name) in known]
    extra = [folder.name for folder in folders if folded(folder.name) not in known]
    where = folders[0].parent
    if extra and not others:
        raise CapivaraError(
            f"{where}: folder {extra[0]!r}{_more(extra)} is not a class of this set",
            f"classes are {', '.join(names[:3])}, … ({len(names)}); a folder may also have the number of its class",
        )
    _check_complete(dict((number, folder) for folder, number in found), names, where)
    return found


def _numbered(folders: Sequence[Path], names: Sequence[str], reordered: bool) -> list[tuple[Path, int]]:
    where = folders[0].parent
    numbers = {int(folder.name): folder for folder in folders}
    start = 1 if set(numbers) == set(range(1, len(names) + 1)) else 0
    listed = _listed_names(where)
    if reordered and listed is None:
        raise CapivaraError(
            f"{where}: its folders are numbers, and copies of this set number the classes differently",
            f"name the folders by class ({', '.join(names[:3])}, …), or put a {NAME_LISTS[0]} beside them",
        )
    mapping = class_mapping(names, listed[1], str(listed[0])) if listed else None
    extra = [number for number in numbers if not start <= number < start + len(names)]
    if extra:
        raise CapivaraError(f"{where}: folder {extra[0]}: the classes are 0 to {len(names) - 1}")
    found = [
        (folder, mapping[number - start] if mapping else number - start) for number, folder in sorted(numbers.items())
    ]
    _check_complete(dict((number, folder) for folder, number in found), names, where)
    return found


def _listed_names(where: Path) -> tuple[Path, list[str]] | None:
    for folder in (where, where.parent):
        for name in NAME_LISTS:
            if lines := lines_of(folder / name):
                return folder / name, lines
    return None


def _check_complete(found: Mapping[int, Path], names: Sequence[str], where: Path) -> None:
    missing = [name for number, name in enumerate(names) if number not in found]
    if missing:
        raise CapivaraError(
            f"{where}: no folder with images of class {missing[0]!r}{_more(missing)}",
            "every class needs a folder: results with fewer classes are not comparable",
        )


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
