"""A sample, the unit that every stage reads and yields: one image with its captions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from capivara_cli.errors import BadSample

IMAGE_SUFFIXES = frozenset(
    {
        "jpg", "jpeg", "jfif", "jpe", "png", "webp", "bmp", "tif", "tiff", "gif", "avif", "jxl", "ppm", "heic", "heif",
    }
)  # fmt: skip


def has_image_suffix(path: PurePath) -> bool:
    return path.suffix[1:].lower() in IMAGE_SUFFIXES


def is_image_suffix(suffix: str) -> bool:
    """Whether the member with this suffix of a sample is an image: ``jpg``, and ``small.JPG`` too."""
    return suffix.rpartition(".")[2].lower() in IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence about an image.

    ``lang`` is a BCP-47 code. ``by`` is the author ("alt", "Salesforce/blip2-opt-2.7b", "argos:en-pt"). ``of`` is the
    text it was translated or rewritten from. ``score`` is the cosine of image and text by the model that
    ``json["clip"]`` names. ``prefix`` is the text that a captioner continued or answered ("a photo of"; "" if none);
    only captions of captioners have it. ``more`` has the keys of other programs, as pairs of key and JSON text.

    Stored, the first five keys are always present, null if they have no value: other readers infer a schema.
    """

    text: str
    lang: str
    by: str
    of: str | None = None
    score: float | None = None
    prefix: str | None = None
    more: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_json(cls, entry: object) -> Caption:
        """The caption in an entry of ``json["captions"]``. Raises ``BadSample`` if the entry is not a caption."""
        if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
            raise BadSample('json "captions" is not a list of {"text", "lang", "by", "of", "score"}')
        get = entry.get
        lang, by, of, score, prefix = get("lang"), get("by"), get("of"), get("score"), get("prefix")
        if not (of is None or isinstance(of, str)) or not (score is None or _is_number(score)):
            raise BadSample('a caption has an "of" that is not text, or a "score" that is not a number')
        known = _PLAIN_KEYS
        if prefix is not None:
            prefix, known = (prefix, _CAPTION_KEYS) if isinstance(prefix, str) else (None, _PLAIN_KEYS)
        if not isinstance(lang, str) or not isinstance(by, str):
            lang, by = lang if isinstance(lang, str) else "und", by if isinstance(by, str) else "unknown"
        caption = cls(entry["text"], lang, by, of, score, prefix)
        if entry.keys() <= known:
            return caption
        more = ((key, json.dumps(value)) for key, value in entry.items() if key not in known)
        return replace(caption, more=tuple(more))

    def to_json(self) -> dict[str, object]:
        """The entry of ``json["captions"]``: the keys of this class, then those of other programs."""
        entry: dict[str, object] = {
            "text": self.text, "lang": self.lang, "by": self.by, "of": self.of, "score": self.score,
        }  # fmt: skip
        if self.prefix is not None:
            entry["prefix"] = self.prefix
        entry.update((key, json.loads(value)) for key, value in self.more)
        return entry


def _is_number(value: Any) -> bool:
    """Whether it is a finite number. NaN and infinity cannot be compared, and other JSON readers reject them."""
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


_LARGEST = 1e300
_PLAIN_KEYS = frozenset({"text", "lang", "by", "of", "score"})
_CAPTION_KEYS = _PLAIN_KEYS | {"prefix"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A key and its members (suffix -> bytes), unchanged and in the order in which they were read."""

    key: str
    members: dict[str, bytes]

    @property
    def image(self) -> bytes:
        """The encoded bytes of the first image member. Raises ``BadSample`` if there is none."""
        for suffix, data in self.members.items():
            if is_image_suffix(suffix):
                return data
        raise BadSample("no image")

    @property
    def document(self) -> dict[str, Any]:
        """The parsed ``json`` member; ``{}`` if there is none. Raises ``BadSample`` if it is not a JSON object."""
        data = self.members.get("json")
        if data is None:
            return {}
        return _parsed(data)

    @property
    def captions(self) -> list[Caption]:
        """The captions in ``json["captions"]``. Raises ``BadSample`` if they are malformed."""
        data = self.members.get("json", b"{}")
        return list(_cached_captions(data)) if len(data) < _MAX_CACHED else captions_in(_parsed(data))

    def with_captions(self, captions: Iterable[Caption], document: Mapping[str, object] | None = None) -> Sample:
        """The sample with these captions; the same object if they are equal to its captions.

        A caller that has parsed ``self.document`` and knows that the captions differ can pass it, which saves time.
        """
        captions = list(captions)
        if document is None:
            if captions == self.captions:
                return self
            document = self.document
        entries = [caption.to_json() for caption in captions]
        return self.with_members(json=encode_json({**document, "captions": entries}))

    def with_document(self, **changes: object) -> Sample:
        """The sample with these top-level keys of its ``json`` set; other keys are unchanged."""
        return self.with_members(json=encode_json({**self.document, **changes}))

    def with_members(self, **members: bytes) -> Sample:
        """The sample with these members set; a new member becomes the last one."""
        return Sample(self.key, {**self.members, **members})


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadSample("json cannot be parsed") from error
    if not isinstance(document, dict):
        raise BadSample("json is not an object")
    if data.count(b"{") + data.count(b"[") > _MAX_DEPTH and _depth(document) > _MAX_DEPTH:
        raise BadSample("json is nested too deeply")
    return document


def _depth(document: object) -> int:
    level, depth = [document], 0
    while level:
        depth += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth


_MAX_DEPTH = 200  # low enough that writing the document never exceeds Python's recursion limit
_MAX_CACHED = 1 << 16  # bytes


@lru_cache(64)
def _cached_captions(data: bytes) -> tuple[Caption, ...]:
    """Cached, because a stage reads the captions of a sample and then compares its new captions with them."""
    return tuple(captions_in(_parsed(data)))


def captions_in(document: Mapping[str, object]) -> list[Caption]:
    """The captions in a parsed ``json`` member. Raises ``BadSample`` if they are malformed."""
    entries = document.get("captions", [])
    if not isinstance(entries, list):
        raise BadSample('json "captions" is not a list of {"text", "lang", "by", "of", "score"}')
    return [Caption.from_json(entry) for entry in entries]


def encode_json(document: object, indent: int | None = None) -> bytes:
    """Encode as UTF-8 JSON, keys in their order, on one line by default. Lone surrogates stay escaped."""
    try:
        return json.dumps(document, ensure_ascii=False, indent=indent).encode()
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent).encode()
