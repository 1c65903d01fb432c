"""Write samples to a folder of shards, as a command does with ``--out``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.library._calls import call
from capivara_cli.library._options import texts_of
from capivara_cli.library._performing import performed
from capivara_cli.library.pipeline import Pipeline, source_of
from capivara_cli.library.shards import Shards
from capivara_cli.library.sources import GivenFiles, SampleSource, Source, StrPath
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.books import Report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.command import Command, Invocation
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.manifest import Manifest
from capivara_cli.urls import is_url


@dataclass(frozen=True)
class _NoOptions:
    """``write`` changes no sample."""


def _unchanged(samples: Stream, options: _NoOptions, env: Env) -> Stream:
    yield from samples


_WRITE = Step(Stage("write", _NoOptions, _unchanged, reads_captions=False), _NoOptions())
"""The step that the history of shards has if no stage made them: a program wrote them."""
_FLAGS = {"--out": "folder", "--rejects": "rejects", "--overwrite": "overwrite"}


def write(
    samples: SampleSource,
    folder: StrPath,
    *,
    overwrite: bool = False,
    rejects: StrPath = "",
    energy: bool = True,
    progress: bool = False,
) -> Shards:
    """Write samples to a folder of shards with a manifest, and return its shards.

    Stages over shards are written shard by shard, like ``capivara run PLAN SHARDS --out FOLDER``: the same bytes, and
    the same call resumes after a kill. Samples of a program are written to shards of 1,000, and only to a folder
    without a finished result. ``overwrite`` replaces another result, ``rejects`` is a folder for every dropped sample,
    ``energy`` measures the energy used, for the ``footprint.jsonl`` of the folder.

    Raises ``CapivaraError`` if the folder has another result or is the input, and what iterating raises.

    >>> pt = capivara.translate(capivara.read("shards"), lang="pt", translator="toy")
    >>> written = capivara.write(pt, "out")
    >>> len(written), pt.tally.written, [Path(each).name for each in written.paths]
    (6, 6, ['00000.tar', '00001.tar'])
    """
    (out,), (rejected,) = texts_of(folder), texts_of(rejects)
    with call(keywords=_FLAGS):
        source = source_of(samples)
    with call(progress, {**(source.flags if isinstance(source, Pipeline) else {}), **_FLAGS}):
        given = {"out": out, "overwrite": overwrite, "rejects": rejected, "energy": energy, "quiet": not progress}
        work = _Work(source, given)
        performed(work.invocation)
        if isinstance(source, Pipeline) and work.report is not None:
            source.count(work.report.tallies)
        return Shards([out])


class _Work:
    """The samples to be written, as a command line that ``performed`` can run."""

    def __init__(self, source: Source, given: dict[str, Any]) -> None:
        self.report: Report | None = None
        if isinstance(source, Pipeline):
            self._plan, self._source, before = source.plan, source.source, source.settings
        else:
            self._plan, self._source, before = (_WRITE,), source, build(Settings)
        settings = changed(before, **given)
        name = self._plan[0].name if len(self._plan) == 1 else "run"
        self.invocation = Invocation(Command(name, _NoOptions, self._run), self._inputs, _NoOptions(), settings)

    @property
    def _inputs(self) -> list[str]:
        """The names of what is read, [] for samples of a program."""
        if isinstance(self._source, Shards):
            return self._source.inputs
        return self._source.inputs if isinstance(self._source, GivenFiles) else []

    def _run(self, inputs: list[str], options: _NoOptions, env: Env) -> dict[str, Any]:
        if inputs:
            self.report = engine.run(self._plan, inputs, env.settings, None, env.costs)
        else:
            chain = Chain(self._plan, env.settings, env.costs)
            _check_unfinished(env.settings)
            with self._source.opened(chain.envs[0], chain.reads_captions) as (history, samples):
                if not is_url(env.settings.out):
                    engine.check_not_input(Path(env.settings.out), self._source.shards())
                self.report = engine.write_stream(chain, history, samples, env.settings.out)
        return self.report.summary()


def _check_unfinished(settings: Settings) -> None:
    """Raise ``CapivaraError`` for a folder with a finished result: nothing tells if these samples are the same."""
    if settings.overwrite or is_url(settings.out):
        return
    manifest = Manifest.load(Path(settings.out))
    if manifest is not None and manifest.complete:
        raise CapivaraError(
            f"{settings.out}: holds a finished result, and samples of a program may be others",
            "choose another folder, or replace it with overwrite=True",
        )
