"""A sample for programs: an image with its captions, and what else its shard holds of it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import BadSample, CapivaraError, UsageError
from capivara_cli.shards import sample as records
from capivara_cli.shards.history import History
from capivara_cli.shards.images import as_rgb, decode_image, image_suffix
from capivara_cli.shards.sample import Caption, encode_json

if TYPE_CHECKING:
    from PIL.Image import Image


class Sample:
    """One image with its captions: the unit that every stage reads and yields. It cannot be changed, only copied.

    ``members`` are the files that the shard holds of it, by suffix: ``{"jpg": b"…", "json": b"…"}``. ``history`` lists
    the steps that made the sample. Raises ``UsageError`` for a key that a shard cannot hold.

    >>> sample = Sample.of("dog", image, [Caption("a dog", "en", "me")])
    >>> sample.captions[0].text, sample.image.size
    ('a dog', (64, 48))
    """

    __slots__ = ("_record", "_shard", "history")

    def __init__(self, key: str, members: Mapping[str, bytes], history: Iterable[Mapping[str, Any]] = ()) -> None:
        _check_key(key)
        self._record, self._shard = records.Sample(key, dict(members)), ""
        self.history: History = list(history)  # type: ignore[arg-type]

    @classmethod
    def of(
        cls, key: str, image: bytes | str | os.PathLike[str] | Image, captions: Iterable[Caption] = (), **document: Any
    ) -> Sample:
        """A new sample from an image (the bytes or the path of a file, or a PIL image, which is stored as PNG).

        ``document``: further values of its ``json``. Raises ``CapivaraError`` if the file cannot be read.
        """
        data = _encoded(image)
        with _named(key):
            suffix = image_suffix(data)
        entries = [each.to_json() for each in captions]
        return cls(key, {suffix: data, "json": encode_json({**document, "captions": entries})})

    @classmethod
    def _made(cls, record: records.Sample, history: History, shard: str) -> Sample:
        made = cls.__new__(cls)
        made._record, made.history, made._shard = record, history, shard
        return made

    @property
    def key(self) -> str:
        """The name of the sample in its shard, without a suffix."""
        return self._record.key

    @property
    def members(self) -> dict[str, bytes]:
        """The files of the sample by suffix, as they are in the shard."""
        return dict(self._record.members)

    @property
    def captions(self) -> list[Caption]:
        """The captions, in order. Raises ``CapivaraError`` if they are damaged."""
        with _named(self.key):
            return self._record.captions

    @property
    def image(self) -> Image:
        """The image as every stage sees it: RGB, upright, transparency over white.

        Raises ``CapivaraError`` if there is none, or if it is damaged or larger than 64 megapixels.
        """
        with _named(self.key):
            return decode_image(self._record)

    @property
    def json(self) -> dict[str, Any]:
        """The ``json`` member; {} if there is none. Changing it does not change the sample.

        Raises ``CapivaraError`` if it is damaged.
        """
        with _named(self.key):
            return self._record.document

    def with_captions(self, captions: Iterable[Caption]) -> Sample:
        """A copy with these captions. Raises ``CapivaraError`` if the ``json`` of the sample is damaged."""
        with _named(self.key):
            return self._made(self._record.with_captions(captions), self.history, self._shard)

    def with_json(self, **values: Any) -> Sample:
        """A copy with these keys of its ``json`` set. Raises ``CapivaraError`` if the ``json`` is damaged."""
        with _named(self.key):
            return self._made(self._record.with_document(**values), self.history, self._shard)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and self._record == other._record

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{suffix} {len(data):,} B" for suffix, data in self._record.members.items())
        return f"Sample({self.key!r}, {sizes})"


def record_of(sample: object) -> records.Sample:
    """The record that stages read. Raises ``UsageError`` for what is no ``Sample``."""
    if not isinstance(sample, Sample):
        raise UsageError(
            f"{type(sample).__name__} in place of a Sample: {sample!r:.60}", "capivara.Sample.of(key, image, captions)"
        )
    return sample._record


def made_of(record: records.Sample, history: History, shard: str = "") -> Sample:
    """The sample for programs of a record with this history, of the shard at a path or URL."""
    return Sample._made(record, history, shard)


def shard_of(sample: Sample) -> str:
    """The shard that a sample was read from, "" if a program or a stage made it."""
    return sample._shard


def image_bytes(image: bytes | str | os.PathLike[str]) -> bytes:
    """The bytes of an image file. Raises ``CapivaraError`` if the file cannot be read."""
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise CapivaraError(f"{image}: cannot be read: {error.strerror}") from error


def _encoded(image: bytes | str | os.PathLike[str] | Image) -> bytes:
    if isinstance(image, bytes | str | os.PathLike):
        return image_bytes(image)
    with _named("the image"):
        plain = as_rgb(image)
    out = io.BytesIO()
    plain.save(out, "PNG")
    return out.getvalue()


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """Raise ``CapivaraError`` with the key in place of ``BadSample``."""
    try:
        yield
    except BadSample as error:
        raise CapivaraError(f"{key}: {error.reason}") from error


def _check_key(key: str) -> None:
    """Raise ``UsageError`` for a key that a reader of the shard would cut, or refuse."""
    if not isinstance(key, str):
        raise UsageError(f"{key!r}: a key is a text")
    parts = key.split("/")
    if not all(parts) or "." in parts[-1] or {".", ".."} & set(parts) or "\0" in key:
        raise UsageError(f"{key!r}: cannot be the key of a sample", "a name such as photos/0001, without a dot")
