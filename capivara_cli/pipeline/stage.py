"""A stage: a generator over samples that is one command and one step of a plan.

A stage file is an options dataclass and one generator::

    @dataclass(frozen=True)
    class Options:
        n: int = opt(10, "captions per image", min=1)

    @stage("caption", Options)
    def caption(samples: Stream, options: Options, env: Env) -> Stream: ...
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from capivara_cli import __version__
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import COSTS, SHARDING, check_options, offered, option_fields, option_values
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from capivara_cli.plugin_errors import Origin
    from capivara_cli.shards.archive import Stream
    from capivara_cli.shards.history import HistoryStep

Arrays = dict[str, Any]
"""Named numpy arrays."""


@dataclass(frozen=True)
class CorpusFunctions:
    """The functions of a stage that must see all samples before it can decide about one.

    ``needed(options)`` returns whether these options need all samples. If not, the stage is an ordinary generator.
    ``survey(samples, options, env)`` reads one shard and returns named arrays, which are stored beside the output. It
    counts nothing. ``decide(surveys, options, env)`` gets one function per shard, in the order of the shards, that
    loads the survey. It yields named arrays for each shard, in the same order. Its documentation states how much memory
    it needs. ``apply(samples, survey, decision, options, env)`` is the generator of the second pass over one shard.
    """

    needed: Callable[[Any], bool]
    survey: Callable[[Stream, Any, Env], Arrays]
    decide: Callable[[Sequence[Callable[[], Arrays]], Any, Env], Iterator[Arrays]]
    apply: Callable[[Stream, Arrays, Arrays, Any, Env], Stream]


class SurveyedShard(NamedTuple):
    """The survey of one shard and the decision about it: the input of ``CorpusFunctions.apply``."""

    survey: Arrays
    decision: Arrays


@dataclass(frozen=True)
class Stage:
    """One command that reads and writes samples.

    A stage that ``begins`` a stream reads the files in ``env.inputs``, not shards. ``keeps(options)`` is the share of
    the samples that a stage keeps, if its options determine it. ``--dry-run`` uses it, because 32 samples estimate it
    badly. A stage that ``reads_captions`` refuses shards whose captions only ``pack`` reads. ``settings``: the shared
    options that it reads beside those that the engine reads for every stage. ``origin``: the package that a stage comes
    from; None for capivara's own.
    """

    name: str
    options: type
    run: Callable[[Stream, Any, Env], Stream]
    begins: bool = False
    corpus: CorpusFunctions | None = None
    keeps: Callable[[Any], float] | None = None
    reads_captions: bool = True
    settings: tuple[str, ...] = ("device", "seed", "max_failures")
    origin: Origin | None = None

    @property
    def shared(self) -> frozenset[str]:
        """The names of the shared options that the stage has as a command."""
        return offered(("out", "overwrite", *SHARDING, *COSTS, *self.settings), rehearses=True)

    @property
    def version(self) -> str:
        """The version of capivara, and for a stage of another package that of the package."""
        return __version__ if self.origin is None else f"{__version__} with {self.origin.package or self.origin.name}"

    def of_package(self, origin: Origin) -> Stage:
        """This stage as that of another package, whose faults raise ``PluginError``.

        Raises it here for another name than that of its entry point, and for options that cannot be options.
        """
        from capivara_cli.pipeline.added_stages import check_options_class, guarded, guarded_stage

        if (self.name, origin.kind) != (origin.name, "stages"):
            raise origin.fault(f"leads to the stage {self.name!r}; its group and name must be those of its entry point")
        check_options_class(origin, self.options)
        corpus = self.corpus and CorpusFunctions(
            guarded(self.corpus.needed, origin), guarded(self.corpus.survey, origin),
            guarded(self.corpus.decide, origin), guarded_stage(self.corpus.apply, origin, begins=False),
        )  # fmt: skip
        run, keeps = guarded_stage(self.run, origin, begins=self.begins), self.keeps and guarded(self.keeps, origin)
        return replace(self, run=run, corpus=corpus, keeps=keeps, origin=origin)

    def blamed(self) -> contextlib.AbstractContextManager[None]:
        """A context for questions to the options of this stage, in which a stage of another package is to blame."""
        return contextlib.nullcontext() if self.origin is None else self.origin.blamed()

    def check(self, options: Any) -> None:
        """Raise ``CapivaraError`` for wrong options, before any sample is read."""
        check_options(options)
        check = getattr(options, "check", None)
        if check is not None:
            with self.blamed():
                check()


def stage(
    name: str, options: type, *, begins: bool = False, corpus: CorpusFunctions | None = None,
    keeps: Callable[[Any], float] | None = None, reads_captions: bool = True,
    settings: tuple[str, ...] = ("device", "seed", "max_failures"),
) -> Callable[[Callable[[Stream, Any, Env], Stream]], Stage]:  # fmt: skip
    """Return a decorator that turns a generator function into the stage ``name``."""
    return lambda run: Stage(name, options, run, begins, corpus, keeps, reads_captions, settings)


@dataclass(frozen=True)
class Step:
    """A stage with its options: one part of a plan."""

    stage: Stage
    options: Any

    @property
    def name(self) -> str:
        return self.stage.name

    def describe(self, seed: int) -> HistoryStep:
        """The stage, its options and the seed, for histories and fingerprints; without options marked ``tuning``."""
        values = option_values(self.options)
        options = {
            each.name: values[each.name] for each in option_fields(self.options) if not each.metadata.get("tuning")
        }
        shown = {name: public_url(value) if isinstance(value, str) else value for name, value in options.items()}
        return {"step": self.name, "options": shown, "seed": seed}
