"""Recognise and open sources on disk: code that several importers share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream, open_shard
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._photos import keys_of, report_bad

_START = 1 << 16  # bytes
_TAR_NAMES = (".tar", ".tar.gz", ".tgz")


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
        return any(not path.name.startswith(".") for path in source.glob("*.tar"))
    return source.is_file() and (source.name.endswith(_TAR_NAMES) or first_bytes(source, 262)[257:] == b"ustar")


def first_sample(source: Path) -> Sample | None:
    """The first sample of a tar file or of a folder of them; None if there is none."""
    with open_shard(find_shards([str(source)])[0]) as reader:
        return next(iter(reader), None)


def samples_in_tars(source: Path, convert: Callable[[Sample], Sample], env: Env) -> Stream:
    """Every sample of the tar files, converted. One for which ``convert`` raises ``BadSample`` counts as failed."""
    keys = keys_of(env)
    for shard in find_shards([str(source)]):
        with open_shard(shard) as reader:
            for sample in reader:
                env.tally.read += 1
                try:
                    converted = convert(sample)
                except BadSample as error:
                    report_bad(env, sample, f"{shard}: {sample.key}", error.reason)
                else:
                    yield Sample(keys.unique(sample.key, Path(shard).stem), converted.members)
            for kind, count in reader.ignored.items():
                env.note(f"ignored {kind}", count)
            if reader.duplicates:
                env.tally.read += reader.duplicates
                env.tally.dropped["duplicate key"] += reader.duplicates


def image_roots(source: Path, images: str, named_after: str) -> list[Path]:
    """The folders in which to look for the images of a JSON file.

    ``images`` if it is given; otherwise the usual subfolders of its folder and of the one above, and ``named_after``.
    """
    if images:
        return [Path(images)]
    here = source.absolute().parent
    subfolders = ("", "images", named_after, f"images/{named_after}", "Images")
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
