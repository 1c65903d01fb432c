"""Read shards: an iterable of samples, with a length, cut by shard."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from capivara_cli.errors import UsageError
from capivara_cli.library._calls import call, in_calls
from capivara_cli.library._options import texts_of
from capivara_cli.library.samples import Sample, made_of
from capivara_cli.library.sources import Source, StrPath
from capivara_cli.pipeline.env import Env, Tally
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.source import check_packed, counted, joined
from capivara_cli.shards.archive import Stream, open_shard
from capivara_cli.shards.history import History
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import MANIFEST, Manifest
from capivara_cli.urls import is_url

_NAME = "read"


class Shards(Source):
    """The samples of some shards, read anew each time they are iterated over.

    ``inputs``: what was named. ``paths``: the paths and URLs of the shards, in order. ``tally``: the counts of the last
    complete iteration. ``len`` counts the samples: by the manifest of the folder, else by reading the shards once.
    ``shards[0:2]`` are the first two shards. Iterating raises ``CapivaraError`` at the place of a damage.
    """

    def __init__(self, inputs: Sequence[str], paths: Sequence[str] | None = None) -> None:
        self.inputs = list(inputs)
        self.paths = find_shards(inputs) if paths is None else list(paths)
        self.tally = Tally()
        self._length: int | None = None

    def __iter__(self) -> Iterator[Sample]:
        return in_calls(self._samples(), False, {})

    def _samples(self) -> Iterator[Sample]:
        env = Env(Settings(), _NAME)
        for path in self.paths:
            with open_shard(path) as reader:
                for record in counted(reader, env, captions=False):
                    env.tally.read += 1
                    env.tally.written += 1
                    yield made_of(record, reader.history, path)
        self.tally = env.tally

    def __len__(self) -> int:
        if self._length is None:
            with call():
                self._length = sum(map(_count, self.paths))
        return self._length

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, part: slice) -> Shards:
        if not isinstance(part, slice):
            raise UsageError(f"shards[{part!r}]: takes a range of shards", "shards[0:1] are the samples of the first")
        paths = self.paths[part]
        return Shards(paths, paths)

    @property
    def history(self) -> History:
        """The steps that made the first shard, oldest first; [] for shards of another program."""
        with call(), contextlib.ExitStack() as stack:
            return stack.enter_context(open_shard(self.paths[0])).history if self.paths else []

    @contextlib.contextmanager
    def opened(self, env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
        """As in ``Source``."""
        if captions:
            check_packed(self.paths)
        with joined(self.paths, env, captions) as (history, samples):
            yield history, samples

    def shards(self) -> list[str]:
        """As in ``Source``: ``paths``."""
        return self.paths

    def __repr__(self) -> str:
        return f"<{len(self.paths)} shard{'s' * (len(self.paths) != 1)} of {', '.join(self.inputs)}>"


def read(inputs: StrPath | Sequence[StrPath]) -> Shards:
    """Open shards: a folder, a tar, a pattern with braces or ``*``, a URL, or a list of these.

    Returns an iterable of ``Sample``. Nothing is read yet but the manifest of a folder. Raises ``CapivaraError`` if an
    input does not exist, if a folder has no shards, and if a stage has not finished it.

    >>> shards = capivara.read("shards")
    >>> len(shards), len(shards.paths)
    (6, 2)
    >>> [sample.key for sample in shards[1:2]]
    ['00003', '00004', '00005']
    >>> next(iter(shards)).captions[0].text
    'a red square number 0'
    """
    with call():
        return Shards(texts_of(inputs))


def _count(path: str) -> int:
    """The number of samples of a shard, by the manifest beside it if that fits, else by reading it."""
    if not is_url(path):
        with contextlib.suppress(OSError, ValueError):
            entry = Manifest.parse((Path(path).parent / MANIFEST).read_bytes()).done.get(os.path.basename(path))  # noqa: PTH119
            if entry is not None and entry.written is not None and entry.size == Path(path).stat().st_size:
                return entry.written
    with open_shard(path) as reader:
        return sum(1 for _ in reader)
