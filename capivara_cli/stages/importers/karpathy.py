"""Karpathy's dataset_*.json (Flickr8k, Flickr30k, COCO): images with sentences and splits, see --split.

Published with "Deep Visual-Semantic Alignments" (Karpathy and Fei-Fei, 2015). COCO has a split "restval", which is
usually trained on together with "train": --split train,restval.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._captions import captions_of
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, check_image_folder, report_bad, samples_of
from capivara_cli.stages.importers._sources import image_roots, json_lists, load_json, starts_with_any

_KEPT = ("split", "imgid", "cocoid")


def recognise(source: Path) -> bool:
    return _file_of(source) is not None


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image of the chosen splits; the captions are ``sentences[].raw``.

    Raises ``CapivaraError`` if the file has another format, or for an unknown split.
    """
    return samples_of(photos(source, options, env), env)


def photos(source: Path, options: PackOptions, env: Env) -> list[Photo]:
    """The photos of the chosen splits."""
    source = _file_of(source) or source
    images = load_json(source).get("images")
    if not isinstance(images, list):
        raise CapivaraError(f"{source}: not Karpathy's format: it needs the list 'images'")
    present = {image["split"] for image in images if isinstance(image, dict) and isinstance(image.get("split"), str)}
    for split in options.splits:
        if split not in present:
            raise unknown("split", split, present)
    roots = image_roots(source, options.images, f"{source.stem.removeprefix('dataset_')}-images")
    found: list[Photo] = []
    for number, image in enumerate(images):
        if options.splits and isinstance(image, dict) and image.get("split") not in options.splits:
            continue
        photo = _photo(image, roots, options, env)
        if photo is None:
            env.tally.read += 1
            sample = Sample(f"{source.stem}_image_{number}", {})
            report_bad(env, sample, f"{source}: image {number}", "an image without file or sentences")
        else:
            found.append(photo)
    check_image_folder(found, source)
    return found


def _file_of(source: Path) -> Path | None:
    """The file: the source itself, or the only one in the folder that is not about an image beside it."""
    paths = json_lists(source) if source.is_dir() else [source]
    found = [path for path in paths if starts_with_any(path, ".json", (b'"sentences"', b'"sentids"'))]
    return found[0] if len(found) == 1 else None


def _photo(image: object, roots: list[Path], options: PackOptions, env: Env) -> Photo | None:
    if not isinstance(image, dict) or not isinstance(image.get("filename"), str) or not image["filename"]:
        return None
    sentences = image.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(each, dict) for each in sentences):
        return None
    name, folder = image["filename"], image.get("filepath")
    captions = captions_of(sentences, options.code, env)
    locations = [str(root / name) for root in roots]
    if isinstance(folder, str) and folder:
        locations = [str(root / folder / name) for root in roots] + locations
        name = f"{folder}/{name}"
    extra = {field: image[field] for field in _KEPT if isinstance(image.get(field), (str, int))}
    return Photo(name, locations, captions, extra)
