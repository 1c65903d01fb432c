"""COCO captions: a JSON file with "images" and "annotations", and image files in a folder beside it or in --images.

Format: https://cocodataset.org/#format-data (4, image captioning).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, caption, check_image_folder, report_bad, samples_of
from capivara_cli.stages.importers._sources import image_roots, load_json, starts_with_any


def recognise(source: Path) -> bool:
    return starts_with_any(source, ".json", (b'"images"', b'"annotations"'))


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image; its captions are in the order of the annotations.

    Annotations without an image are counted. Raises ``CapivaraError`` if the file has no COCO captions.
    """
    document = load_json(source)
    images, annotations = document.get("images"), document.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise CapivaraError(f"{source}: not COCO captions: it needs the lists 'images' and 'annotations'")
    if annotations and not any(isinstance(each, dict) and "caption" in each for each in annotations):
        raise CapivaraError(f"{source}: its annotations hold no captions", "use the file called captions_….json")
    photos = _photos(source, images, options, env)
    for number, annotation in enumerate(annotations):
        _add(photos, annotation, f"{source.stem}_annotation_{number}", options, env)
    found = list(photos.values())
    check_image_folder(found, source)
    return samples_of(found, env)


def _photos(source: Path, images: list[object], options: PackOptions, env: Env) -> dict[int | str, Photo]:
    """The photos by image id."""
    roots = image_roots(source, options.images, source.stem.removeprefix("captions_"))
    photos: dict[int | str, Photo] = {}
    for number, image in enumerate(images):
        entry = image if isinstance(image, dict) else {}
        name, identity = entry.get("file_name"), entry.get("id")
        if not isinstance(name, str) or not name or not isinstance(identity, (int, str)):
            _refuse(source, number, "an image without file or id", env)
        elif identity in photos:
            _refuse(source, number, "an image with the id of another", env)
        else:
            photos[identity] = Photo(name, [str(root / name) for root in roots], extra={"image_id": identity})
    return photos


def _refuse(source: Path, number: int, reason: str, env: Env) -> None:
    env.tally.read += 1
    report_bad(env, Sample(f"{source.stem}_image_{number}", {}), f"{source}: image {number}", reason)


def _add(photos: dict[int | str, Photo], annotation: object, key: str, options: PackOptions, env: Env) -> None:
    entry = annotation if isinstance(annotation, dict) else {}
    identity = entry.get("image_id")
    if not isinstance(identity, (int, str)) or identity not in photos:
        env.tally.read += 1
        report_bad(env, Sample(key, {}), key, "an annotation of no listed image")
        return
    photos[identity].captions += caption(entry.get("caption"), options.code, env)
