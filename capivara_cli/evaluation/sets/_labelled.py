"""Sets of labelled images with class names in ``labels/*.json``: ELEVATER's twenty, LaCLIP's, ImageNet, ObjectNet.

The images are downloaded from CLIP_benchmark's repositories on the hub, or come from ``--data DIR``. Classes have the
numbers of those repositories. The Portuguese names are CAPIVARA's with its mistakes corrected; ``name:paper`` has the
uncorrected names and templates of the paper (arXiv 2310.13683).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Metric, Provenance
from capivara_cli.evaluation.sets import _memes, _tree, _voc, _webdataset
from capivara_cli.evaluation.sets._files import check_choice
from capivara_cli.evaluation.sets._images import SPLITS, Images, class_mapping, lines_of
from capivara_cli.pipeline.env import Env

FOLDER = Path(__file__).with_name("labels")
PAPER = "paper"


@dataclass(frozen=True)
class Labels:
    """One file of ``labels/``: a set, and its class names and templates by language.

    ``hub``: the repository with the images, "" if they cannot be downloaded. ``folders``: the names of the class
    folders in the official distribution. ``reordered``: whether ELEVATER numbers the classes differently.
    ``other_folders``: whether the official distribution has more classes. ``test_is``: the official split that serves
    as the test split. ``paper``: language -> {"names", "templates"} of the paper, with its mistakes.
    """

    name: str
    title: str
    groups: Sequence[str]
    metric: Metric
    classes: int
    licence: str
    homepage: str
    hub: str
    names: Mapping[str, Sequence[str]]
    names_by: Mapping[str, str]
    templates: Mapping[str, Sequence[str]]
    sources: Sequence[Mapping[str, str]]
    reordered: bool = False
    other_folders: bool = False
    test_is: str = ""
    folders: Sequence[str] = ()
    paper: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    @property
    def layouts(self) -> str:
        """The layouts of ``--data DIR``, for error messages."""
        if self.name == "hateful-memes":
            return f"--data DIR takes {_memes.LAYOUT}; get the data at {self.homepage}"
        own = _voc.LAYOUT if self.metric == "map-11-point" else "DIR/test/CLASS/*.jpg, DIR/CLASS/*.jpg"
        return f"--data DIR takes your copy: {own}, or {_webdataset.LAYOUT}; get the data at {self.homepage}"


@cache
def names() -> tuple[str, ...]:
    """The names of all these sets."""
    return tuple(sorted(path.stem.replace("_", "-") for path in FOLDER.glob("*.json")))


@cache
def read(name: str) -> Labels:
    """The labels of the set ``name``, one of ``names``."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name.replace('-', '_')}.json").read_text("utf-8"))
    return Labels(**document)


def languages(name: str, variant: str) -> tuple[str, ...]:
    """The languages with class names; for the variant "paper", those in the paper."""
    labels = read(name)
    check_choice(labels.name, variant, [PAPER] if labels.paper else [])
    return tuple(labels.paper if variant else labels.names)


def load(name: str, variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The images of one split with the class names in one language.

    Raises ``CapivaraError`` for an unknown language or split, and for missing images.
    """
    labels = read(name)
    if lang not in languages(name, variant):
        raise unknown(f"language in {_spec(labels, variant)}", lang, languages(name, variant))
    if split not in SPLITS:
        raise unknown(f"split of {labels.name}", split, SPLITS)
    found = images(labels, data, split)
    listed = labels.paper[lang] if variant else {"names": labels.names[lang], "templates": labels.templates[lang]}
    if len(listed["names"]) != labels.classes:
        console.warn(
            f"{_spec(labels, variant)}: the paper's list has {len(listed['names'])} names for {labels.classes} "
            "classes. Each name after the missing one is used for the class before its own, and the last class is "
            "never predicted. The score has the same error as the paper's"
        )
    official = labels.test_is if split == "test" and labels.test_is else split
    source = f"{labels.title.partition(':')[0]} ({labels.homepage})"
    return EvalSet(
        name=_spec(labels, variant),
        lang=lang,
        samples=found.samples,
        provenance=Provenance(source, labels.licence, official, obtained=found.obtained, checksums=found.checksums),
        classes=tuple(listed["names"]),
        templates=tuple(listed["templates"]),
        metric=labels.metric,
        names_by=f"CAPIVARA ({PAPER})" if variant else labels.names_by[lang],
        unnamed=labels.classes - len(listed["names"]),
    )


def _spec(labels: Labels, variant: str) -> str:
    return f"{labels.name}:{variant}" if variant else labels.name


def images(labels: Labels, data: str, split: str) -> Images:
    """The images of a split, with the class numbers of ``labels``, from the folder ``data`` or from the hub."""
    if data:
        return _local(labels, Path(data), split)
    if not labels.hub:
        raise CapivaraError(f"{labels.name}: the images cannot be downloaded", labels.layouts)
    if split == "val" and labels.test_is != "val":
        raise CapivaraError(f"{labels.name}: only test and train can be downloaded, not val", labels.layouts)
    part = "test" if split == labels.test_is else split
    what = f"the images of {labels.name} ({part})"
    folder = _webdataset.from_hub(labels.hub, part, what, (labels.layouts, f"licence of the data: {labels.licence}"))
    return _from_shards(labels, folder, part, f"downloaded from {labels.hub}@{_webdataset.revision(folder)}")


def _local(labels: Labels, folder: Path, split: str) -> Images:
    if not folder.is_dir():
        raise CapivaraError(f"{folder}: no such folder", labels.layouts)
    parts = [split, *({"test", labels.test_is} - {split, ""} if split in ("test", labels.test_is) else ())]
    obtained = f"local copy in {folder}"
    for part in parts:
        if part in _webdataset.splits(folder):
            return _from_shards(labels, folder, part, obtained)
    if labels.name == "hateful-memes" and _memes.is_copy(folder):
        return _memes.images(folder, split)
    if labels.metric == "map-11-point":
        if (root := _voc.root_of(folder)) is not None:
            return _voc.images(root, split, labels.names["en"])
        raise CapivaraError(f"{folder}: has no copy of {labels.name}", labels.layouts)
    root = _tree.split_folder(folder, parts, whole=split in ("test", labels.test_is))
    if root is None:
        raise CapivaraError(f"{folder}: has no images of the split {split} of {labels.name}", labels.layouts)
    folders = _tree.class_folders(root)
    classes = _tree.matched(
        folders, labels.names["en"], labels.folders, reordered=labels.reordered, others=labels.other_folders
    )
    return Images(_tree.samples(classes), obtained)


def _from_shards(labels: Labels, folder: Path, split: str, obtained: str) -> Images:
    shards = _webdataset.shards(folder / split)
    listed = folder / _webdataset.NAMES
    mapping = class_mapping(labels.names["en"], lines_of(listed), str(listed))
    return Images(_webdataset.samples(shards, mapping), obtained)
