"""Recognises sources on disk and opens them; shared by several importers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream, reading
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._photos import complain, keys_of

_LOOK = 1 << 16  # bytes
_TAR_NAMES = (".tar", ".tar.gz", ".tgz")


def first_bytes(path: Path, count: int = _LOOK) -> bytes:
    """The first bytes of a file; none when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def starts_with_any(source: Path, suffix: str, words: Sequence[bytes]) -> bool:
    """Whether a file has this suffix and one of the words near its start."""
    if not source.is_file() or source.suffix.lower() != suffix:
        return False
    start = first_bytes(source)
    return any(word in start for word in words)


def is_tar(source: Path) -> bool:
    """Whether a path is a tar, or a folder with tars in it."""
    if source.is_dir():
        return any(not path.name.startswith(".") for path in source.glob("*.tar"))
    return source.is_file() and (source.name.endswith(_TAR_NAMES) or first_bytes(source, 262)[257:] == b"ustar")


def first_sample(source: Path) -> Sample | None:
    """The first sample of a tar or a folder of tars, None when there is none."""
    with reading(find_shards([str(source)])[0]) as reader:
        return next(iter(reader), None)


def samples_in_tars(source: Path, convert: Callable[[Sample], Sample], env: Env) -> Stream:
    """Every sample of the tars, converted; one for which ``convert`` raises ``BadSample`` is counted as bad."""
    keys = keys_of(env)
    for shard in find_shards([str(source)]):
        with reading(shard) as reader:
            for sample in reader:
                env.tally.read += 1
                try:
                    converted = convert(sample)
                except BadSample as error:
                    complain(env, sample, f"{shard}: {sample.key}", error.reason)
                else:
                    yield Sample(keys.unique(sample.key, Path(shard).stem), converted.members)
            for kind, count in reader.ignored.items():
                env.note(f"ignored {kind}", count)
            if reader.duplicates:
                env.tally.read += reader.duplicates
                env.tally.dropped["duplicate key"] += reader.duplicates


def image_roots(source: Path, images: str, named_after: str) -> list[Path]:
    """The folders the images of a JSON file may be in: ``images`` if given, else the usual ones beside and above it."""
    if images:
        return [Path(images)]
    here = source.absolute().parent
    subfolders = ("", "images", named_after, f"images/{named_after}", "Images")
    roots = (root / name for root in (here, here.parent) for name in subfolders)
    return [root for root in dict.fromkeys(roots) if root.is_dir()]


def load_json(source: Path) -> dict[str, Any]:
    """A JSON file that is one object; ``CapivaraError`` when it is not."""
    try:
        document = json.loads(source.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CapivaraError(f"{source}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CapivaraError(f"{source}: not a JSON object")
    return document
