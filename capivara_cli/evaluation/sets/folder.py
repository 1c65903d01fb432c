"""Images in one folder per class: folder:PATH, or folder:PATH@pt if the names of the folders are Portuguese."""

from __future__ import annotations

from pathlib import Path

from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance, check_names
from capivara_cli.evaluation.sets import _tree
from capivara_cli.evaluation.sets._images import SPLITS, with_language
from capivara_cli.pipeline.env import Env

_LAYOUT = "folder:PATH takes PATH/CLASS/*.jpg, or PATH/test/CLASS/*.jpg and PATH/train/CLASS/*.jpg"


def recognises(path: Path) -> bool:
    """Whether a folder, or one of its splits, has subfolders with images."""
    return any(_tree.class_folders(root) for root in (path, *(path / split for split in SPLITS)))


def languages(variant: str) -> tuple[str, ...]:
    return (with_language(variant)[1],)


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The images of one split. A class is named after its folder, with spaces for underscores.

    All splits have the classes of the test split, sorted by name.
    """
    path, own = with_language(variant)
    if not path:
        raise UsageError("folder needs a path", "folder:PATH")
    if lang != own:
        raise unknown(f"language in folder:{variant}", lang, [own], f"if the names are in {lang}: folder:{path}@{lang}")
    if split not in SPLITS:
        raise unknown("split of a folder", split, SPLITS)
    root = Path(path)
    test = _part(root, "test")
    folders = _tree.class_folders(test)
    numbers = {folder.name: number for number, folder in enumerate(folders)}
    part = folders if split == "test" else _tree.class_folders(_part(root, split))
    if extra := [folder.name for folder in part if folder.name not in numbers]:
        raise CapivaraError(f"{root}: {split} has a class {extra[0]!r} that {test} does not have")
    classes = tuple(" ".join(name.replace("_", " ").split()) for name in numbers)
    check_names(classes, str(test))
    return EvalSet(
        name=f"folder:{path}",
        lang=lang,
        samples=_tree.samples([(folder, numbers[folder.name]) for folder in part]),
        provenance=Provenance(root.name, "", split, obtained=f"local copy in {root}"),
        classes=classes,
        names_by="the folders' names",
    )


def _part(root: Path, split: str) -> Path:
    found = _tree.split_folder(root, [split], whole=split == "test")
    if found is None:
        raise CapivaraError(f"{root}: has no folders with images of the split {split}", _LAYOUT)
    return found
