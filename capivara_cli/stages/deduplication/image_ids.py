"""Ids that identify an image in any data set: COCO's and Flickr's numbers, URLs, distinctive file names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from capivara_cli.shards.sample import Sample
from capivara_cli.stages.deduplication.image_hash import short

_NAMES = ("image", "file", "file_name", "filename", "path", "filepath", "image_path")
_ADDRESSES = ("url", "image_url", "coco_url", "flickr_url")
_NUMBERS = {"cocoid": "coco", "coco_id": "coco", "flickr_id": "flickr"}

_COCO = re.compile(r"(?:coco_(?:train|val|test)20\d\d_)?(\d{12})")
_FLICKR = re.compile(r"(\d{5,11})(?:_(?=\d*[a-f])[0-9a-f]{8,10})?(?:_[a-z])?")
_PLAIN_NUMBER = re.compile(r"[1-9]\d{7,10}")
_SHORTEST = 10
_COUNTER = re.compile(
    r"[a-z]{0,2}[-_ ]*\d+|"
    r"(?:|img|image|images|sample|samples|train|test|val|photo|pic|dsc|dscn|dscf|frame|file|data|item|page)"
    r"[-_ ]*\d+(?:[-_ ]\d+)*"
)


def identities(sample: Sample, document: dict[str, object]) -> list[int]:
    """The 64-bit hashes of all ids in the key and the json (``document``) of a sample, sorted.

    Ids are COCO's numbers ("COCO_val2014_000000391895", "000000391895.jpg"), Flickr's ("1007129816_e794419615.jpg", or
    eight digits or more alone), other file names of at least ten characters with a digit, and URLs without scheme and
    query. Counters and words identify nothing: "00017", "img_0017", "s0000017" and "beach" occur in any set. A key of
    digits is ignored if the sample has a URL: it is the counter of a downloader.
    """
    return sorted({short(name) for name in _names(sample.key, document)})


def _names(key: str, document: dict[str, object]) -> Iterator[str]:
    if not _stem(key).isdecimal() or not any(field in document for field in _ADDRESSES):
        yield from _of_name(key)
    for field in _NAMES:
        if isinstance(value := document.get(field), str):
            yield from _of_address(value) if "://" in value else _of_name(value)
    for field in _ADDRESSES:
        if isinstance(value := document.get(field), str):
            yield from _of_address(value)
    for field, kind in _NUMBERS.items():
        value = document.get(field)
        if isinstance(value, int | str) and str(value).isdecimal() and int(value) > 0:
            yield f"{kind}:{int(value)}"


def _of_address(text: str) -> Iterator[str]:
    """The URL itself, and a number of Flickr or COCO in it. Other names in URLs, such as "large", are not ids."""
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return
    host, path = parts.netloc.casefold(), unquote(parts.path)
    if not host or not path.strip("/"):
        return
    yield f"address:{host}{path}" + (f"?{parts.query}" if parts.query and not _has_suffix(path) else "")
    name = _stem(path)
    if "flickr" in host and (found := _FLICKR.fullmatch(name)):
        yield f"flickr:{int(found[1])}"
    elif found := _COCO.fullmatch(name):
        yield f"coco:{int(found[1])}"


def _of_name(text: str) -> Iterator[str]:
    name = _stem(text)
    if found := _COCO.fullmatch(name):
        yield f"coco:{int(found[1])}"
    elif _PLAIN_NUMBER.fullmatch(name) or ("_" in name and _FLICKR.fullmatch(name)):
        yield f"flickr:{int(name.partition('_')[0])}"
    elif len(name) >= _SHORTEST and any(map(str.isdigit, name)) and not _COUNTER.fullmatch(name):
        yield f"name:{name}"


def _has_suffix(path: str) -> bool:
    return "." in path.rpartition("/")[2]


def _stem(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2].partition(".")[0].strip().casefold()
