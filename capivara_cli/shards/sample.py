"""A sample, the unit that every stage reads and yields: one image with its captions."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from capivara_cli.errors import BadSample
from capivara_cli.shards.json_text import JsonObject, read_object, text_of

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
    ``entry``: the parsed entry that the caption was read from; None if it is new.

    Stored, the first five keys are always present, null if they have no value: other readers infer a schema.
    """

    text: str
    lang: str
    by: str
    of: str | None = None
    score: float | None = None
    prefix: str | None = None
    more: tuple[tuple[str, str], ...] = ()
    entry: Mapping[str, object] | None = field(default=None, compare=False, repr=False)

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
        more: tuple[tuple[str, str], ...] = ()
        if not entry.keys() <= known:
            more = tuple((key, json.dumps(value)) for key, value in entry.items() if key not in known)
        return cls(entry["text"], lang, by, of, score, prefix, more, entry)

    def to_json(self) -> dict[str, object]:
        """The entry of ``json["captions"]``: the keys of this class, then those of other programs."""
        entry: dict[str, object] = {
            "text": self.text, "lang": self.lang, "by": self.by, "of": self.of, "score": self.score,
        }  # fmt: skip
        if self.prefix is not None:
            entry["prefix"] = self.prefix
        entry.update((key, json.loads(value)) for key, value in self.more)
        return entry

    def edited_text(self, text: str) -> str:
        """The text of ``entry``, in which only the values that changed are others."""
        before, now = read_object(text), self.to_json()
        gone = Caption.from_json(before).to_json().keys() - now.keys()
        new = [key for key, value in now.items() if key not in before or _differ(before[key], value)]
        return before.edited({**dict.fromkeys(gone), **{key: text_of(now[key]) for key in new}})


def _differ(before: object, now: object) -> bool:
    return (before != now or type(before) is not type(now)) and json.dumps(before) != json.dumps(now)


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
        """The parsed ``json`` member; ``{}`` if there is none.

        Raises ``BadSample`` if it is not a JSON object, or if a key that capivara changes is repeated in it.
        """
        return _parsed(self.members.get("json", _NO_JSON))

    @property
    def captions(self) -> list[Caption]:
        """The captions in ``json["captions"]``. Raises ``BadSample`` if they are malformed."""
        return list(_read(self.members.get("json", _NO_JSON))[1])

    def with_captions(self, captions: Iterable[Caption], document: Mapping[str, Any] | None = None) -> Sample:
        """The sample with these captions; the same object if they are equal to its captions.

        Captions that did not change keep their text in ``json``. A caller that has parsed ``self.document`` and knows
        that the captions differ can pass it, which saves time.
        """
        captions = list(captions)
        if document is None:
            document, before = _read(self.members.get("json", _NO_JSON))
            if captions == list(before):
                return self
        return self._edited(document, {"captions": captions})

    def with_document(self, **changes: object) -> Sample:
        """The sample with these top-level keys of its ``json`` set; everything else in it keeps its bytes."""
        return self._edited(self.document, changes)

    def without_keys(self, keys: Iterable[str]) -> Sample:
        """The sample without these top-level keys of its ``json``; everything else in it keeps its bytes."""
        return self._edited(self.document, dict.fromkeys(keys, _REMOVED))

    def _edited(self, document: Mapping[str, Any], changes: Mapping[str, Any]) -> Sample:
        """The sample with other values in its ``json``.

        A ``json`` in the form that ``encode_json`` gives is encoded again, which takes half as long as editing its
        text. Any other one is edited: its numbers, spaces, escapes and repeated keys stay.
        """
        data = self.members.get("json", _NO_JSON)
        if encode_json(document) == data:
            new = {key: value for key, value in {**document, **changes}.items() if value is not _REMOVED}
            if isinstance(captions := changes.get("captions"), list):
                new["captions"] = [each.to_json() if isinstance(each, Caption) else each for each in captions]
            return self.with_members(json=encode_json(new))
        mark, encoding = _encoding(data)
        read = read_object(data[len(mark) :].decode(encoding, "surrogatepass"), _SPLIT)
        texts = {key: None if value is _REMOVED else _new_text(read, value) for key, value in changes.items()}
        return self.with_members(json=mark + read.edited(texts).encode(encoding, "surrogatepass"))

    def with_members(self, **members: bytes) -> Sample:
        """The sample with these members set; a new member becomes the last one."""
        return Sample(self.key, {**self.members, **members})


def _new_text(before: JsonObject, value: object) -> str:
    """The text of a new value; captions that were read from ``before`` keep their texts there."""
    if not isinstance(value, list) or not any(isinstance(each, Caption) for each in value):
        return text_of(value)
    known: dict[str, list[str]] = {}
    texts_before = before.items_of.get("captions", [])
    for entry, text in zip(reversed(before["captions"] if texts_before else []), reversed(texts_before), strict=True):
        known.setdefault(json.dumps(entry), []).append(text)
    texts = []
    for caption in value:
        found = known.get(json.dumps(caption.entry)) if caption.entry is not None else None
        texts.append(caption.edited_text(found.pop()) if found else text_of(caption.to_json()))
    return f"[{', '.join(texts)}]"


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
        if isinstance(document, dict) and _may_repeat(data):
            mark, encoding = _encoding(data)
            repeated = read_object(data[len(mark) :].decode(encoding, "surrogatepass")).repeated & _OWN_KEYS
            if repeated:
                raise BadSample(f'json has "{min(repeated)}" twice')
    except (ValueError, RecursionError) as error:
        raise BadSample("json cannot be parsed") from error
    if not isinstance(document, dict):
        raise BadSample("json is not an object")
    if data.count(b"{") + data.count(b"[") > _MAX_DEPTH and _depth(document) > _MAX_DEPTH:
        raise BadSample("json is nested too deeply")
    return document


def _may_repeat(data: bytes) -> bool:
    """Whether a key of ``_OWN_KEYS`` may be in a ``json`` twice, maybe with escaped letters, or in UTF-16."""
    if data.count(b'"captions"') > 1 or data.count(b'"clip"') > 1:
        return True
    return b"\\u006" in data or b"\\u007" in data or b"\0" in data[:4]


def _encoding(data: bytes) -> tuple[bytes, str]:
    """The byte order mark of a ``json`` member, b"" if it has none, and the encoding of what follows."""
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    return mark, _MARKS[mark] if mark else json.detect_encoding(data)


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
_NO_JSON = b"{}"
_SPLIT = ("captions",)
_REMOVED = object()
_OWN_KEYS = frozenset({"captions", "clip"})
"""The keys of ``json`` that stages change."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be",
}  # fmt: skip


def _read(data: bytes) -> tuple[dict[str, Any], tuple[Caption, ...]]:
    """A ``json`` member and its captions. They may be those of an earlier call: nobody changes them."""
    return _cached(data) if len(data) < _MAX_CACHED else _read_anew(data)


def _read_anew(data: bytes) -> tuple[dict[str, Any], tuple[Caption, ...]]:
    document = _parsed(data)
    return document, tuple(captions_in(document))


_cached = lru_cache(64)(_read_anew)
"""A stage reads the captions of a sample and then compares its new captions with them."""


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
