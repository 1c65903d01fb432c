"""A webdataset in CLIP_benchmark's layout: wds:PATH, or wds:PATH@pt if its class names or captions are Portuguese."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from capivara_cli import console
from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Metric, Provenance, check_templates
from capivara_cli.evaluation.sets import _webdataset
from capivara_cli.evaluation.sets._files import checksum
from capivara_cli.evaluation.sets._images import lines_of, with_language
from capivara_cli.pipeline.env import Env


def recognises(path: Path) -> bool:
    """Whether a folder, or a subfolder, has this layout's file with the number of shards."""
    return path.is_dir() and ((path / _webdataset.COUNT).is_file() or bool(_webdataset.splits(path)))


def languages(variant: str) -> tuple[str, ...]:
    return (with_language(variant)[1],)


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The images of one split with their captions or classes; the shards may also be directly in PATH.

    Images with several classes are scored by mean average precision, as in ELEVATER.
    """
    path, own = with_language(variant)
    if not path:
        raise UsageError("wds needs a folder", "wds:PATH")
    if lang != own:
        raise unknown(f"language in wds:{variant}", lang, [own], f"if it is in {lang}: wds:{path}@{lang}")
    root = Path(path)
    shards = _webdataset.shards(_split_folder(root, split))
    kind = (lines_of(root / _webdataset.KIND) or ["classification"])[0].lower()
    if kind not in ("classification", "multilabel", "retrieval"):
        raise unknown(f"type of data set in {root / _webdataset.KIND}", kind, ("multilabel", "retrieval"))
    metric: Metric = "map-11-point" if kind == "multilabel" else "accuracy"
    files = [root / name for name in (_webdataset.NAMES, _webdataset.TEMPLATES) if (root / name).is_file()]
    return EvalSet(
        name=f"wds:{path}",
        lang=lang,
        samples=_webdataset.samples(shards, lang=lang),
        provenance=Provenance(
            root.name,
            "",
            split,
            obtained=f"local copy in {root}",
            checksums={each.name: checksum(each) for each in files},
        ),
        classes=() if kind == "retrieval" else _names(root),
        templates=() if kind == "retrieval" else _templates(root),
        metric=metric,
        names_by=_webdataset.NAMES,
    )


def _split_folder(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise CapivaraError(f"{root}: no such folder", f"wds:DIR takes {_webdataset.LAYOUT}")
    splits = _webdataset.splits(root)
    if split in splits:
        return root / split
    if splits:
        raise unknown(f"split in {root}", split, splits)
    if not (root / _webdataset.COUNT).is_file():
        raise CapivaraError(f"{root}: has no {_webdataset.COUNT}", f"wds:DIR takes {_webdataset.LAYOUT}")
    return root


def _names(root: Path) -> tuple[str, ...]:
    """The class names. Missing ones only warn, because --classes may give them; so do the published duplicates."""
    path = root / _webdataset.NAMES
    names = lines_of(path)
    if not names:
        console.warn(f"{root}: has no {path.name}; name the classes with --classes")
    for number, name in enumerate(names):
        if not name:
            raise CapivaraError(f"{path}: class {number} has an empty name")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        console.warn(f"{path}: {len(doubled)} names stand for several classes, the first is {doubled[0]!r}")
    return tuple(names)


def _templates(root: Path) -> tuple[str, ...]:
    path = root / _webdataset.TEMPLATES
    found = [line for line in lines_of(path) if line]
    if found:
        check_templates(found, str(path))
    return tuple(template.replace("{c}", "{}") for template in found)
