"""Babel-ImageNet: class names of ImageNet in 93 languages, from 35 names (Xhosa) to 1,000 (Geigle et al. 2023).

The names come from BabelNet, whose licence allows only non-commercial use, so they are not part of capivara. Names and
machine-translated prompts are downloaded on first use. The images are those of ImageNet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli import languages as known_languages
from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance, check_templates
from capivara_cli.evaluation.sets import _download, _labelled, _tree, _webdataset
from capivara_cli.evaluation.sets._files import check_choice, checksum
from capivara_cli.evaluation.sets._images import SPLITS, Images
from capivara_cli.pipeline.env import Env

NAMES, PROMPTS = "babel_imagenet.json", "nllb_dist13b_prompts.json"
REPOSITORY, COMMIT = "gregor-ge/Babel-ImageNet", "317c49896f04bc61d0c7a5dfc6fd4e3b0d8a9430"
_URL = f"{_download.GITHUB}/{REPOSITORY}/{COMMIT}/data"
REMOTES = {
    NAMES: _download.Remote(
        f"{_URL}/{NAMES}",
        "the class names of Babel-ImageNet",
        "1.3 MB",
        "1699e9984d5d02f34640b06230f2d5ebacab2ff1554ddf55883858b5862afc5a",
    ),
    PROMPTS: _download.Remote(
        f"{_URL}/{PROMPTS}",
        "the prompts of Babel-ImageNet",
        "283 kB",
        "6973d7d915868b4fd3d0a354acab15a058d6f98628f83ab7d741d45887aa8985",
    ),
}

_CODES = """
AF AM AR AS AZ BE BG BN BR BS CA CS CY DA DE EL EN EO ES ET EU FA FI FR FY GA GD GL GU HA HE HI HR HU HY ID IS IT JA
JV KA KK KM KN KO KU KY LA LO LT LV MG MK ML MN MR MS MY NE NL NO OM OR PA PL PS PT RO RU SA SD SI SK SL SO SQ SR SU
SV SW TA TE TH TL TR UG UK UR UZ VI XH YI ZH
"""
_LICENCE = "names: BabelNet non-commercial licence; images: ImageNet, non-commercial research only"
_LAYOUT = (
    f"--data DIR takes DIR/{NAMES} and DIR/{PROMPTS} (from the folder data/ of github.com/gregor-ge/Babel-ImageNet) "
    "and, if you have them, ImageNet's images in DIR/val/CLASS/*.JPEG; otherwise they are downloaded"
)


@cache
def _codes() -> dict[str, str]:
    """BCP-47 code -> the code in Babel-ImageNet's files."""
    return {known_languages.get(code).code: code for code in _CODES.split()}


def languages(variant: str) -> tuple[str, ...]:
    return tuple(_codes())


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """ImageNet's images with the class names in one language; ``eval`` ignores images of classes without a name.

    Names that stand for two classes are kept, as in the published evaluation, with a warning. Breton, Western Frisian
    and Latin have names but no prompts.
    """
    check_choice("babel-imagenet", variant, ())
    if split not in SPLITS:
        raise unknown("split of babel-imagenet", split, SPLITS)
    if lang not in _codes():
        raise unknown("language in babel-imagenet", lang, _codes())
    imagenet = _labelled.read("imagenet")
    checksums: dict[str, str] = {}
    if lang == "en":
        ids: tuple[int, ...] = ()
        names, templates, by = imagenet.names["en"], imagenet.templates["en"], imagenet.names_by["en"]
    else:
        ids, names = _names(_file(NAMES, data, checksums), lang)
        templates, by = _prompts(_file(PROMPTS, data, checksums), lang), "BabelNet 5.2, by Babel-ImageNet"
    if doubled := len(names) - len(set(names)):
        console.warn(f"babel-imagenet ({lang}): {doubled} of {len(names)} names repeat another; kept as published")
    found = _images(data, split)
    return EvalSet(
        name="babel-imagenet",
        lang=lang,
        samples=found.samples,
        provenance=Provenance(
            "Babel-ImageNet (arXiv 2306.08658)", _LICENCE, "val" if split == "test" else split,
            obtained=found.obtained, checksums=checksums,
        ),
        classes=tuple(names),
        templates=tuple(templates),
        class_ids=ids,
        names_by=by,
    )  # fmt: skip


def _images(data: str, split: str) -> Images:
    """The images from the folder ``data`` if it has any, otherwise from the hub."""
    parts = ("", "test", "val", "train")
    for folder in (Path(data) / "imagenet", Path(data)) if data else ():
        if _webdataset.splits(folder) or any(_tree.class_folders(folder / part) for part in parts):
            return _labelled.images(_labelled.read("imagenet"), str(folder), split)
    return _labelled.images(_labelled.read("imagenet"), "", split)


def _file(name: str, data: str, checksums: dict[str, str]) -> Path:
    """A file from ``data`` (a folder, or the file of names) if it exists, otherwise from the cache or the web."""
    given = Path(data)
    if data and not given.exists():
        raise CapivaraError(f"{given}: no such file or folder", _LAYOUT)
    if given.is_dir():
        paths = [given / name, given / "data" / name]  # the second is for a clone
    else:
        paths = [given if name == NAMES else given.with_name(name)]
    path = next((each for each in paths if data and each.is_file()), None)
    if path is None:
        path = _download.fetch(REMOTES[name], _download.folder("babel-imagenet") / COMMIT[:12] / name, _LAYOUT)
    checksums[name] = checksum(path)
    return path


def _entry(path: Path, lang: str) -> Any:
    try:
        return json.loads(path.read_bytes())[_codes()[lang]]
    except KeyError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CapivaraError(f"{path}: not a file of Babel-ImageNet: {error}", _LAYOUT) from error


def _names(path: Path, lang: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    entry = _entry(path, lang)
    if entry is None:
        raise CapivaraError(f"{path}: no names in {lang} ({_codes()[lang]}) in it", _LAYOUT)
    try:
        ids, names = tuple(entry[0]), tuple(entry[1])
        valid = len(ids) == len(set(ids)) == len(names) and all(0 <= index < 1000 for index in ids)
        valid = valid and all(name.strip() for name in names)
    except (TypeError, IndexError, KeyError, AttributeError):
        valid = False
    if not valid:
        raise CapivaraError(f"{path}: {_codes()[lang]} is not a list of class numbers and a list of names", _LAYOUT)
    return ids, names


def _prompts(path: Path, lang: str) -> Sequence[str]:
    found = _entry(path, lang) or []
    if found:
        check_templates(found, f"{path} ({lang})")
    return tuple(found)
