"""Turn photos named by a table, a JSON file or a folder into samples with unique keys and the files' own bytes.

Importers make one ``Photo`` per image; ``samples_of`` reads or downloads them. Images that are missing, unreadable or
cannot be downloaded are reported, counted and dropped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.images import image_suffix
from capivara_cli.shards.json_text import object_text
from capivara_cli.shards.sample import IMAGE_SUFFIXES, Caption, Sample
from capivara_cli.stages.importers._downloads import MAX_FILE, Downloads
from capivara_cli.storage.files import special_kind
from capivara_cli.urls import public_url, stored_url

ALT = "alt"
"""``by`` of a caption that came with the image."""

_NAMED_FAILURES = 5
_AT_ONCE = 16
_ENTITY = re.compile(r"&(#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MISSING = frozenset({"nan", "NaN", "None", "null", "NULL", "<NA>", "#N/A", "N/A"})
"""How programs write a missing value as text."""


@dataclass
class Photo:
    """One image of a source.

    ``file``: its name in the source. ``locations``: the paths to try in turn, or one URL. ``extra``: its other fields,
    which are copied into the ``json``; a ``JsonText`` as it is.
    """

    file: str
    locations: Sequence[str]
    captions: list[Caption] = field(default_factory=list)
    extra: dict[str, object] = field(default_factory=dict)

    def json(self) -> bytes:
        """The ``json`` of the sample. A field of the source named "captions" does not replace the captions."""
        file = stored_url(self.file) if is_http_url(self.file) else self.file
        captions = [caption.to_json() for caption in self.captions]
        return object_text({**self.extra, "file": file, "captions": captions}).encode()


class Keys:
    """Unique keys without dots, because WebDataset ends a key at the first dot."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of_path(self, path: str) -> str:
        """An unused key for a path: ``./a/b.c.JPG`` -> ``a/b_c``; if that is taken ``a/b_c_JPG``, ``a/b_c_JPG_2`` …"""
        parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        stem, _, suffix = (parts.pop() if parts else "").rpartition(".")
        base = _safe(stem or suffix).replace(".", "_")
        key = "/".join([*map(_safe, parts), base or "_"])
        return self.unique(key, suffix if stem else "")

    def unique(self, key: str, distinction: str) -> str:
        """The key if it is unused; otherwise with ``distinction`` appended, then with a number too."""
        candidate = key
        if candidate in self._taken and distinction:
            candidate = key = f"{key}_{_safe(distinction).replace('.', '_').replace('/', '_')}"
        number = 1
        while candidate in self._taken:
            number += 1
            candidate = f"{key}_{number}"
        self._taken.add(candidate)
        return candidate


def _safe(name: str) -> str:
    """Control characters and bytes that are not UTF-8 become underscores; every script stays as it is."""
    return "".join(char if char.isprintable() else "_" for char in name)


def keys_of(env: Env) -> Keys:
    """The keys of this run, shared by all its inputs."""
    return env.once(Keys, Keys)


def report_bad(env: Env, sample: Sample, name: str, reason: str) -> None:
    """Count an unusable sample or record, and warn of the first five by name. ``--rejects`` keeps them all."""
    if env.tally.failed < _NAMED_FAILURES:
        console.warn(f"{public_url(name)}: {reason}")
    elif env.tally.failed == _NAMED_FAILURES:
        console.warn("more cannot be used: they are counted, and --rejects DIR keeps them")
    env.fail(sample, reason)


def caption(text: object, lang: str, env: Env) -> list[Caption]:
    """A list of one caption by ``ALT``; an empty list for an empty or missing text ("nan", "NULL"), which is counted.

    HTML entities become the characters that they stand for, which is counted too.
    """
    text = text.strip() if isinstance(text, str) else ""
    if "&" in text and (plain := unescaped(text)) != text:
        env.note("captions with HTML entities, unescaped")
        text = plain.strip()
    if not text or text in _MISSING:
        env.note("empty captions")
        return []
    return [Caption(text, lang, ALT)]


def unescaped(text: str) -> str:
    """``&quot;`` -> ``"``, also where it was escaped twice (``&amp;quot;``). ``AT&T`` and ``a=1&copy=2`` stay."""
    import html.entities

    def character(entity: re.Match[str]) -> str:
        known = entity[1].startswith("#") or f"{entity[1]};" in html.entities.html5
        return html.unescape(entity[0]).replace("\xa0", " ") if known else entity[0]

    return _ENTITY.sub(character, _ENTITY.sub(character, text))


def samples_of(photos: Iterable[Photo], env: Env) -> Stream:
    """Read or download every photo; yield samples with the file's bytes and a ``json`` with captions.

    Counts every photo as read. Raises ``CapivaraError`` if no image can be downloaded, see ``Downloads``.
    """
    keys = keys_of(env)
    downloads = Downloads()
    pending: dict[str, Photo] = {}

    def without_images() -> Stream:
        for photo in photos:
            env.tally.read += 1
            key = keys.of_path(_path_of(photo.file) if is_http_url(photo.file) else photo.file)
            pending[key] = photo
            yield Sample(key, {"json": photo.json()})

    def load(sample: Sample) -> tuple[str, bytes] | BadSample:
        try:
            return _suffix_and_bytes(pending[sample.key], downloads)
        except BadSample as error:
            return error

    for sample, loaded in map_batched(without_images(), load, list, size=_AT_ONCE, env=env):
        photo = pending.pop(sample.key)
        if isinstance(loaded, BadSample):
            report_bad(env, sample, photo.file, loaded.reason)
        else:
            suffix, data = loaded
            yield Sample(sample.key, {suffix: data, **sample.members})


def _suffix_and_bytes(photo: Photo, downloads: Downloads) -> tuple[str, bytes]:
    if is_http_url(photo.locations[0]):
        data, name = downloads.get(photo.locations[0]), _path_of(photo.locations[0])
    else:
        name, data = file_of(photo.locations)
    suffix = name.rpartition(".")[2].lower()
    return (suffix if suffix in IMAGE_SUFFIXES else image_suffix(data)), data


def file_of(locations: Sequence[str]) -> tuple[str, bytes]:
    """The name and the bytes of the first file that exists; names may be in another Unicode form on disk.

    Raises ``BadSample`` if there is none, or it cannot be read.
    """
    path = next((path for path in map(_found, locations) if path), None)
    if path is None:
        kind = next(filter(None, map(special_kind, locations)), "")
        raise BadSample(f"is {kind}, not a file" if kind else "no such image file")
    return path.name, _bytes_of(path)


def _found(location: str) -> Path | None:
    """The file at a location. macOS writes names decomposed (NFD), tables have them composed (NFC), or the reverse."""
    if _is_file(location):
        return Path(location)
    if location.isascii():
        return None
    found = Path(Path(location).anchor or ".")
    for part in Path(location).parts[bool(Path(location).anchor) :]:
        found = found / (part if _exists(found / part) else _in_another_form(found, part))
    return found if _is_file(str(found)) else None


def _in_another_form(folder: Path, name: str) -> str:
    """The name of the entry of a folder that is the same text in another Unicode form; the name if there is none."""
    from unicodedata import normalize

    for form in ("NFC", "NFD"):
        if _exists(folder / normalize(form, name)):
            return normalize(form, name)
    try:
        entries = os.listdir(folder)  # noqa: PTH208  a form of its own: HFS+ decomposes by rules of its own
    except (OSError, ValueError):
        return name
    wanted = normalize("NFC", name)
    return next((entry for entry in entries if normalize("NFC", entry) == wanted), name)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_file(location: str) -> bool:
    try:
        return Path(location).is_file()
    except (OSError, ValueError):  # a name that is too long for the file system, or has a zero byte
        return False


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE:
            raise BadSample(f"file larger than {MAX_FILE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise BadSample(f"cannot be read: {error.strerror}") from error


def is_http_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _path_of(url: str) -> str:
    """``https://host/a/b%20c.jpg?w=9`` -> ``a/b c.jpg``."""
    from urllib.parse import unquote

    return unquote(url.partition("://")[2].partition("?")[0].partition("#")[0].partition("/")[2])


def any_exists(photos: Sequence[Photo]) -> bool:
    """Whether the file of one of the photos exists, or one is at a URL."""
    return any(is_http_url(location) or _found(location) for photo in photos for location in photo.locations)


def check_image_folder(photos: Sequence[Photo], source: Path) -> None:
    """Raise ``CapivaraError`` if none of the first hundred photos exists: then the folder is wrong, not the images."""
    first = [photo for photo in photos[:100] if not is_http_url(photo.locations[0])]
    if first and not any_exists(first):
        raise CapivaraError(
            f"{source}: none of the first {len(first)} images exists; the first is {first[0].locations[0]}",
            "name the folder of the images with --images DIR",
        )
