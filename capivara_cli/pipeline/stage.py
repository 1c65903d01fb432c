"""A stage is a generator over samples; this is what it may rely on: options, an environment, batching.

A stage file is an options dataclass and one generator::

    @dataclass(frozen=True)
    class Options:
        n: int = opt(10, "captions per image", min=1)

    @stage("caption", Options)
    def caption(samples: Stream, options: Options, env: Env) -> Stream: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import check_options, option_fields, option_values
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from capivara_cli.shards.archive import Stream
    from capivara_cli.shards.history import HistoryStep

Arrays = dict[str, Any]
"""Named numpy arrays."""


@dataclass(frozen=True)
class Corpus:
    """A stage that has to see all samples before it can decide about one: two passes over the shards and a reduce.

    ``wanted(options)``: whether these options ask for it; if not, the stage is an ordinary generator.
    ``survey(samples, options, env)`` looks at one shard and returns named arrays, which are kept beside the output; it
    counts nothing. ``decide(surveys, options, env)`` is given a function per shard that loads its arrays, in the order
    of the shards, and yields named arrays for each shard, in that order: its memory has to be bounded and said.
    ``apply(samples, survey, decision, options, env)`` is the generator of the second pass over one shard, with the
    arrays of both.
    """

    wanted: Callable[[Any], bool]
    survey: Callable[[Stream, Any, Env], Arrays]
    decide: Callable[[Sequence[Callable[[], Arrays]], Any, Env], Iterator[Arrays]]
    apply: Callable[[Stream, Arrays, Arrays, Any, Env], Stream]


@dataclass(frozen=True)
class Stage:
    """One subcommand that reads and writes samples.

    A stage that ``begins`` a stream reads ``env.inputs``, no shards. ``keeps(options)`` is the share of the samples
    that a stage keeps, where its options say that: a few samples would tell ``--dry-run`` less.
    """

    name: str
    options: type
    run: Callable[[Stream, Any, Env], Stream]
    begins: bool = False
    corpus: Corpus | None = None
    keeps: Callable[[Any], float] | None = None

    def check(self, options: Any) -> None:
        """Raise ``CapivaraError`` for options that are wrong, before any sample is read."""
        check_options(options)
        check = getattr(options, "check", None)
        if check is not None:
            check()


def stage(
    name: str, options: type, *, begins: bool = False, corpus: Corpus | None = None,
    keeps: Callable[[Any], float] | None = None,
) -> Callable[[Callable[[Stream, Any, Env], Stream]], Stage]:  # fmt: skip
    """Make a generator function the stage ``name``."""
    return lambda run: Stage(name, options, run, begins, corpus, keeps)


@dataclass(frozen=True)
class Step:
    """A stage with its options: one part of a plan."""

    stage: Stage
    options: Any

    @property
    def name(self) -> str:
        return self.stage.name

    def describe(self, seed: int) -> HistoryStep:
        """What provenance and resume compare: the stage and all that decides what it writes."""
        values = option_values(self.options)
        options = {
            each.name: values[each.name] for each in option_fields(self.options) if not each.metadata.get("tuning")
        }
        shown = {name: public_url(value) if isinstance(value, str) else value for name, value in options.items()}
        return {"step": self.name, "options": shown, "seed": seed}
