"""One image with everything said about it: the unit every stage reads and yields."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from capivara_cli.errors import BadSample

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "avif", "jxl", "ppm"})


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence about an image. The first five keys are always stored, null when absent: readers infer schemas.

    ``lang`` is a BCP-47 code; ``by`` says who wrote it ("alt", "Salesforce/blip2-opt-2.7b", "argos:en-pt");
    ``of`` is the text it was translated or rewritten from; ``score`` is the image-text cosine by the model
    that ``json["clip"]`` names; ``prefix`` is what a captioner was given to continue or to answer ("a photo of"; ""
    when nothing) and is stored with what a captioner wrote only. ``more`` holds the keys of others, as JSON text.
    """

    text: str
    lang: str
    by: str
    of: str | None = None
    score: float | None = None
    prefix: str | None = None
    more: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_json(cls, entry: Any) -> Caption:
        """Read one entry of ``json["captions"]``; ``BadSample`` when it is not a caption."""
        if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
            raise BadSample('json "captions" is not a list of {"text", "lang", "by", "of", "score"}')
        get = entry.get
        lang, by, of, score, prefix = get("lang"), get("by"), get("of"), get("score"), get("prefix")
        if not (of is None or isinstance(of, str)) or not (score is None or _is_number(score)):
            raise BadSample('a caption has an "of" that is no text, or a "score" that is no number')
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

    def to_json(self) -> dict[str, Any]:
        """The entry of ``json["captions"]``: our keys, then those of others."""
        entry: dict[str, Any] = {
            "text": self.text, "lang": self.lang, "by": self.by, "of": self.of, "score": self.score,
        }  # fmt: skip
        if self.prefix is not None:
            entry["prefix"] = self.prefix
        entry.update((key, json.loads(value)) for key, value in self.more)
        return entry


def _is_number(value: Any) -> bool:
    """No truth value, not NaN and not infinite, which compare with nothing and no other JSON reader takes."""
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


_LARGEST = 1e300
_PLAIN_KEYS = frozenset({"text", "lang", "by", "of", "score"})
_CAPTION_KEYS = _PLAIN_KEYS | {"prefix"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A key and its members (suffix -> bytes), exactly as read and in the order read."""

    key: str
    members: dict[str, bytes]

    @property
    def image(self) -> bytes:
        """The encoded bytes of the first image member; ``BadSample`` when there is none."""
        for suffix, data in self.members.items():
            if suffix.rpartition(".")[2].lower() in IMAGE_SUFFIXES:
                return data
        raise BadSample("no image")

    @property
    def document(self) -> dict[str, Any]:
        """The parsed ``json`` member, ``{}`` when there is none; ``BadSample`` when it is not a JSON object."""
        data = self.members.get("json")
        if data is None:
            return {}
        return _parsed(data)

    @property
    def captions(self) -> list[Caption]:
        """The captions in ``json["captions"]``; ``BadSample`` when they are malformed."""
        data = self.members.get("json", b"{}")
        return list(_remembered(data)) if len(data) < _WORTH_REMEMBERING else captions_in(_parsed(data))

    def with_captions(self, captions: Iterable[Caption], document: dict[str, Any] | None = None) -> Sample:
        """The same sample with these captions; the very same bytes when nothing changed.

        ``document`` is for who has parsed ``self.document`` already and knows that something has changed.
        """
        captions = list(captions)
        if document is None:
            if captions == self.captions:
                return self
            document = self.document
        entries = [caption.to_json() for caption in captions]
        return self.with_members(json=encode_json({**document, "captions": entries}))

    def with_document(self, **changes: Any) -> Sample:
        """The same sample with these top-level keys of its ``json`` set; every other key stays as it is."""
        return self.with_members(json=encode_json({**self.document, **changes}))

    def with_members(self, **members: bytes) -> Sample:
        """The same sample with these members set; a new member goes to the end."""
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


def _depth(document: Any) -> int:
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


_MAX_DEPTH = 200  # what was read can be written then, however deep in the program that happens
_WORTH_REMEMBERING = 1 << 16


@lru_cache(64)
def _remembered(data: bytes) -> tuple[Caption, ...]:
    """Captions as parsed a moment ago: a stage reads them, and asks whether what it made of them is the same."""
    return tuple(captions_in(_parsed(data)))


def captions_in(document: dict[str, Any]) -> list[Caption]:
    """The captions of a parsed ``json`` member; ``BadSample`` when they are malformed."""
    entries = document.get("captions", [])
    if not isinstance(entries, list):
        raise BadSample('json "captions" is not a list of {"text", "lang", "by", "of", "score"}')
    return [Caption.of_json(entry) for entry in entries]


def encode_json(document: Any, indent: int | None = None) -> bytes:
    """UTF-8 JSON in the order given, on one line by default; lone surrogates, which UTF-8 cannot hold, stay escaped."""
    try:
        return json.dumps(document, ensure_ascii=False, indent=indent).encode()
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent).encode()
