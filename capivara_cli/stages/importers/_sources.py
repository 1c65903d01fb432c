"""Recognise and open sources on disk: code that several importers share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream, open_shard
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.names import is_shard_name, is_system_file
from capivara_cli.shards.sample import Sample, has_image_suffix
from capivara_cli.stages.importers._photos import keys_of, report_bad

_START = 1 << 16  # bytes
_READABLE = frozenset({".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet"})
_TABLES = _READABLE | {".xlsx", ".xml"}
_EXTENSION = re.compile(r"\.[a-z][a-z0-9_-]{0,9}")
_FLICKR_IMAGES = ("flickr30k-images", "flickr30k_images", "Flicker8k_Dataset", "Flickr8k_Dataset")
_NAMED = 3  # files, in a warning


def first_bytes(path: Path, count: int = _START) -> bytes:
    """The first bytes of a file; b"" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def starts_with_any(source: Path, suffix: str, words: Sequence[bytes]) -> bool:
    """Whether a file has this suffix, holds an object, and has one of the words in its first 64 KiB."""
    if not source.is_file() or source.suffix.lower() != suffix:
        return False
    start = first_bytes(source).removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"{") and any(word in start for word in words)


def is_tar(source: Path) -> bool:
    """Whether a path is a tar file or a folder with tar files."""
    if source.is_dir():
        return any(is_shard_name(path.name) for path in source.iterdir())
    return source.is_file() and (is_shard_name(source.name) or first_bytes(source, 262)[257:] == b"ustar")


def first_sample(source: Path) -> Sample | None:
    """The first sample of a tar file or of a folder of them; None if there is none."""
    with open_shard(find_shards([str(source)])[0]) as reader:
        return next(iter(reader), None)


def samples_in_tars(source: Path, convert: Callable[[Sample], Sample], env: Env) -> Stream:
    """Every sample of the tar files, converted. One for which ``convert`` raises ``BadSample`` counts as failed."""
    keys = keys_of(env)
    uncaptioned = captioned = 0
    for shard in find_shards([str(source)]):
        with open_shard(shard) as reader:
            for sample in reader:
                env.tally.read += 1
                try:
                    converted = convert(sample)
                except BadSample as error:
                    report_bad(env, sample, f"{shard}: {sample.key}", error.reason)
                else:
                    has_captions = bool(converted.captions)
                    captioned, uncaptioned = captioned + has_captions, uncaptioned + (not has_captions)
                    yield Sample(keys.unique(sample.key, Path(shard).stem), converted.members)
            for kind, count in reader.ignored.items():
                env.note(f"ignored {kind}", count)
            if reader.duplicates:
                env.tally.read += reader.duplicates
                env.tally.dropped["duplicate key"] += reader.duplicates
    if source.is_dir():
        others = [path for path in sorted(source.iterdir()) if path.is_file() and not is_shard_name(path.name)]
        report_passed_over(source, others, captioned, uncaptioned, env)


def report_passed_over(source: Path, paths: Sequence[Path], captioned: int, uncaptioned: int, env: Env) -> None:
    """Count the files of a folder that were not read, by extension; hidden ones are not counted.

    If images have no captions, a warning names the files that may hold them: tables and JSON files.
    """
    named: list[Path] = []
    for path in paths:
        if is_system_file(path.name):
            env.note("files of macOS or Windows passed over")
        elif not path.name.startswith("."):
            extension = path.suffix.lower()
            env.note(f"{extension if _EXTENSION.fullmatch(extension) else 'other'} files passed over")
            if path.exists() and _may_hold_captions(path) and not is_metadata_of_img2dataset(path):
                named.append(path)
    named.sort(key=lambda path: ".lemma." in path.name.lower())  # Flickr8k's lemmas are no captions
    if named and uncaptioned:
        count = "no captions found" if not captioned else f"{uncaptioned:,} images have no captions"
        names = ", ".join(path.relative_to(source).as_posix() for path in named[:_NAMED])
        more = f" and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
        readable = named[0].suffix.lower() in _READABLE or ".token" in named[0].name.lower()
        what = (
            f"capivara pack {named[0]} reads it" if readable else "pack reads captions from CSV, TSV, JSON or parquet"
        )
        console.warn(f"{source}: {count}; {names}{more} was passed over: {what}")


def _may_hold_captions(path: Path) -> bool:
    """Whether a file is a table, maybe compressed, or is called after captions."""
    stem = path.stem.lower()
    return (
        bool({path.suffix.lower(), Path(stem).suffix} & _TABLES) or "caption" in stem or ".token" in path.name.lower()
    )


def is_metadata_of_img2dataset(path: Path) -> bool:
    """Whether a file lists the images that img2dataset stored beside it: ``00000.parquet``, ``00000_stats.json``."""
    stem = path.name.partition(".")[0].removesuffix("_stats")
    return stem.isdecimal() and any(path.with_name(name).exists() for name in (stem, f"{stem}.tar"))


def json_lists(folder: Path) -> list[Path]:
    """The JSON files of a folder that may list images: those that are not about one image beside them."""
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    images = {name for path in files if has_image_suffix(path) for name in (path.stem, path.name)}
    return [path for path in files if path.suffix.lower() == ".json" and path.stem not in images and path.is_file()]


def image_roots(source: Path, images: str, named_after: str) -> list[Path]:
    """The folders in which to look for the images of a JSON file.

    ``images`` if it is given; otherwise the usual subfolders of its folder and of the one above, and ``named_after``.
    """
    if images:
        return [Path(images)]
    here = source.absolute().parent
    subfolders = ("", "images", named_after, f"images/{named_after}", "Images", *_FLICKR_IMAGES)
    roots = (root / name for root in (here, here.parent) for name in subfolders)
    return [root for root in dict.fromkeys(roots) if root.is_dir()]


def load_json(source: Path) -> dict[str, object]:
    """The object in a JSON file. Raises ``CapivaraError`` if the file is not JSON or holds something else."""
    try:
        document = json.loads(source.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CapivaraError(f"{source}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CapivaraError(f"{source}: not a JSON object")
    return document
