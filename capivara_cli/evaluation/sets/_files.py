"""Readers of the files of eval sets: texts with a known number of lines, and images in folders and archives."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.shards.names import is_system_file
from capivara_cli.shards.sample import IMAGE_SUFFIXES, Caption, Sample, encode_json

CaptionedImage = tuple[str, list[str]]
"""The file name of an image, and its captions in one language, which may be none."""

ReadImage = Callable[[str], bytes | None]
"""A function from the file name of an image to its bytes, or None if it is missing."""


def check_choice(name: str, variant: str, variants: Sequence[str], hint: str = "") -> None:
    """Raise ``CapivaraError`` for a variant that the set does not have; "" is the set itself."""
    if variant and not variants:
        raise CapivaraError(f"{name}:{variant}: {name} has no variants", hint or "the split is chosen with --split")
    if variant and variant not in variants:
        raise unknown(f"variant of {name}", variant, variants, hint)


def checksum(path: Path) -> str:
    """``sha256:…`` of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def lines(path: Path, expected: int) -> list[str]:
    """The stripped lines of a UTF-8 text file, which may be gzipped, have CRLF, or lack a last newline.

    Raises ``CapivaraError`` if it cannot be read or does not have ``expected`` lines: line n belongs to image n.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CapivaraError(f"{path}: cannot be read: {error}", "the file is damaged: download it again") from error
    found = [line.strip() for line in text.split("\n")]  # splitlines() would also split inside a caption, at U+2028
    if found[-1] == "":
        found.pop()
    check_count(path, len(found), expected, "lines")
    return found


def check_count(path: Path, found: int, expected: int, what: str) -> None:
    """Raise ``CapivaraError`` if a file has another number of ``what`` (lines, images) than the set."""
    if found != expected:
        raise CapivaraError(
            f"{path}: {found:,} {what}, and this set has {expected:,}",
            "the file is cut off, or belongs to other data: download it again",
        )


@dataclass(frozen=True)
class Samples:
    """An iterable of one sample per image, which can be iterated over again.

    A missing image gives a sample without an image, which the evaluation counts as dropped.
    """

    rows: Sequence[CaptionedImage]
    lang: str
    by: str
    read: ReadImage

    def __iter__(self) -> Iterator[Sample]:
        for name, captions in self.rows:
            entries = [Caption(text.strip(), self.lang, self.by).to_json() for text in captions]
            data = self.read(name)
            suffix = Path(name).suffix[1:].lower()
            image = {} if data is None else {suffix if suffix in IMAGE_SUFFIXES else "jpg": data}
            yield Sample(key_of(name), {**image, "json": encode_json({"captions": entries})})


def key_of(name: str) -> str:
    """The key of the sample with the image ``name``: the file name up to the first dot, as in WebDataset."""
    return Path(name).name.partition(".")[0]


@dataclass(frozen=True)
class ImageFolder:
    """Images in the subfolders ``folders`` of ``root``, which are tried in this order."""

    root: Path
    folders: tuple[str, ...]

    def find(self, name: str) -> Path | None:
        """The path of an image, or None. Only the last part of ``name`` counts, so no name leads out of the folder."""
        paths = (self.root / folder / Path(name).name for folder in self.folders)
        return next((path for path in paths if path.is_file()), None)

    def read(self, name: str) -> bytes | None:
        """The bytes of an image, None if it is missing."""
        path = self.find(name)
        return None if path is None else path.read_bytes()

    def checked_reader(self, rows: Sequence[CaptionedImage], layout: str) -> ReadImage:
        """``read``. Raises ``CapivaraError`` with the hint ``layout`` if none of the images exists."""
        present = [folder for folder in self.folders if (self.root / folder).is_dir()]
        if not present:
            names = " or ".join(f"{folder}/" for folder in self.folders)
            raise CapivaraError(f"{self.root}: has no folder {names} with the images", layout)
        if not any(self.find(name) for name, _ in rows):
            tried = ", ".join(f"{folder}/{Path(rows[0][0]).name}" for folder in present)
            raise CapivaraError(f"{self.root}: none of the {len(rows):,} images exists; the first is {tried}", layout)
        return self.read


class ImageZip:
    """Images in a zip archive, found by the last part of their names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise CapivaraError(f"{path}: not a zip archive: {error}", "delete it to download it again") from error
        names = self._archive.namelist()
        self._members = {name.rpartition("/")[2]: name for name in names if not is_system_file(name)}

    def read(self, name: str) -> bytes | None:
        """The bytes of an image, None if it is not in the archive."""
        member = self._members.get(Path(name).name)
        return None if member is None else self._archive.read(member)

    def complete_reader(self, rows: Sequence[CaptionedImage], layout: str) -> ReadImage:
        """``read``, for an archive of another set. Raises ``CapivaraError`` if it lacks one of the images."""
        missing = sum(Path(name).name not in self._members for name, _ in rows)
        if missing:
            raise CapivaraError(f"{self._path}: {missing:,} of the {len(rows):,} images are not in it", layout)
        return self.read
