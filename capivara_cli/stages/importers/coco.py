"""COCO captions: a JSON file with "images" and "annotations", or a folder that has some, as in annotations/.

The image files are in a folder beside it, called after it (val2017) or images, or in --images. Of several caption files
``--split val2017`` takes one. ``captions_val2017_pt.json`` has captions in Portuguese of the images of val2017.
Format: https://cocodataset.org/#format-data (4, image captioning).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError, unknown
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._captions import captions_of, is_language, language_code
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, any_exists, check_image_folder, report_bad, samples_of
from capivara_cli.stages.importers._sources import image_roots, json_lists, load_json, starts_with_any

_IN_LANGUAGE = re.compile(r"(.+)[_-]([a-z]{2,3}(?:-[A-Z]{2})?)")
_WORDS = (b'"images"', b'"annotations"')
_KEYS = (b'"image_id"', b'"caption"')
_EXPORTED = "_annotations.coco.json"
"""The file in the folder of each split, as Roboflow and others export COCO."""
_PART = 1 << 20  # bytes


class _CaptionFile(NamedTuple):
    """A file of captions: the part of the data set that it is about, and the code of its captions, "" if unknown."""

    path: Path
    split: str
    lang: str


def recognise(source: Path) -> bool:
    return starts_with_any(source, ".json", _WORDS) or bool(_files_in(source))


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image; its captions are in the order of the annotations.

    Annotations without an image are counted. Raises ``CapivaraError`` if a file has no COCO captions, or for an unknown
    split.
    """
    return samples_of(photos(source, options, env), env)


def photos(source: Path, options: PackOptions, env: Env) -> list[Photo]:
    """The photos of all caption files. A file of a folder whose images are not there is passed over and counted."""
    found: dict[tuple[object, ...], Photo] = {}
    files = _chosen([_caption_file(path) for path in _files_in(source) or [source]], options)
    missing: list[Photo] = []
    for file in files:
        known = dict(found)
        of_file = _photos_of(file, known, options, env)
        if len(files) == 1 or any_exists(of_file[:100]):
            found = known
        else:
            console.warn(f"{file.path}: passed over, because none of its first {len(of_file[:100])} images exists")
            env.note("caption files without their images")
            missing += of_file
    check_image_folder(list(found.values()) or missing, source)
    return list(found.values())


def _files_in(source: Path) -> list[Path]:
    """The caption files of a folder as COCO has it."""
    if not source.is_dir():
        return []
    paths = sorted(source.glob("annotations/captions_*.json")) or sorted(source.glob("captions_*.json"))
    if paths:
        return [path for path in paths if starts_with_any(path, ".json", _WORDS)]
    others = [*sorted(source.glob("annotations/*.json")), *json_lists(source), *sorted(source.glob(f"*/{_EXPORTED}"))]
    return [path for path in others if starts_with_any(path, ".json", _WORDS) and _has_captions(path)]


def _has_captions(path: Path) -> bool:
    """Whether a file, which may be of half a gigabyte, has annotations with captions somewhere."""
    left = set(_KEYS)
    end = b""
    with open(path, "rb") as file:
        while left and (part := file.read(_PART)):
            left -= {key for key in left if key in end + part}
            end = part[-max(map(len, _KEYS)) :]
    return not left


def _caption_file(path: Path) -> _CaptionFile:
    split = path.parent.name if path.name == _EXPORTED else path.stem.removeprefix("captions_")
    match = _IN_LANGUAGE.fullmatch(split)
    if match and is_language(match[2]):
        return _CaptionFile(path, match[1], language_code(match[2]))
    return _CaptionFile(path, split, "")


def _chosen(files: list[_CaptionFile], options: PackOptions) -> list[_CaptionFile]:
    """The files of the splits that ``--split`` names: ``val2017``, or ``val`` for all years."""
    names = {name for file in files for name in (file.split, file.split.rstrip("0123456789"))}
    for split in options.splits:
        if split not in names:
            raise unknown("split", split, names)
    wanted = options.splits
    return [file for file in files if not wanted or {file.split, file.split.rstrip("0123456789")} & set(wanted)]


def _photos_of(
    file: _CaptionFile, found: dict[tuple[object, ...], Photo], options: PackOptions, env: Env
) -> list[Photo]:
    """The photos of one file, which are added to ``found``: another file may have captions of the same image."""
    document = load_json(file.path)
    images, annotations = document.get("images"), document.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise CapivaraError(f"{file.path}: not COCO captions: it needs the lists 'images' and 'annotations'")
    if annotations and not any(isinstance(each, dict) and "caption" in each for each in annotations):
        raise CapivaraError(f"{file.path}: its annotations hold no captions", "use the file called captions_….json")
    by_id: dict[int | str, Photo] = {}
    roots = image_roots(file.path, options.images, file.split)
    for number, image in enumerate(images):
        entry = image if isinstance(image, dict) else {}
        name, identity = entry.get("file_name"), entry.get("id")
        if not isinstance(name, str) or not name or not isinstance(identity, (int, str)):
            _refuse(file.path, number, "an image without file or id", env)
        elif identity in by_id:
            _refuse(file.path, number, "an image with the id of another", env)
        else:
            locations = [str(root / name) for root in roots]
            photo = Photo(name, locations, extra={"image_id": identity})
            by_id[identity] = found.setdefault((identity, *locations), photo)
    for number, annotation in enumerate(annotations):
        _add(by_id, annotation, f"{file.path.stem}_annotation_{number}", file.lang or options.code, env)
    return list(by_id.values())


def _refuse(source: Path, number: int, reason: str, env: Env) -> None:
    env.tally.read += 1
    report_bad(env, Sample(f"{source.stem}_image_{number}", {}), f"{source}: image {number}", reason)


def _add(by_id: dict[int | str, Photo], annotation: object, key: str, lang: str, env: Env) -> None:
    entry = annotation if isinstance(annotation, dict) else {}
    identity = entry.get("image_id")
    try:
        if not isinstance(identity, (int, str)) or identity not in by_id:
            raise BadSample("an annotation of no listed image")
        named = entry.get("lang") or entry.get("language")
        code = language_code(named) if isinstance(named, str) else lang
        by_id[identity].captions += captions_of(entry.get("caption"), code, env)
    except BadSample as error:
        env.tally.read += 1
        report_bad(env, Sample(key, {}), key, error.reason)
