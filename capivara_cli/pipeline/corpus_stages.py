"""Corpus stages, which must see all samples: where they split a plan, and helpers to survey and decide."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Arrays, CorpusFunctions, Step


def needs_corpus(step: Step) -> bool:
    """Whether the step must see all samples, so that the plan is split before it."""
    return step.stage.corpus is not None and step.stage.corpus.needed(step.options)


def parts_of(chain: Chain) -> list[Chain]:
    """The plan split before each step that must see all samples. The first part may be empty."""
    cuts = [number for number, step in enumerate(chain.steps) if needs_corpus(step)]
    bounds = [0, *cuts, len(chain.steps)]
    return [chain.part(start, stop) for start, stop in itertools.pairwise(bounds)]


def survey_env(part: Chain) -> Env:
    """An environment for surveys and decisions: it has the models of the step, and its counts are not used."""
    env = part.envs[0]
    return Env(env.settings, env.step, env.models, env.number, env.costs)


def corpus_of(part: Chain) -> CorpusFunctions:
    """The functions of the corpus stage that a part of a plan begins with."""
    corpus = part.steps[0].stage.corpus
    if corpus is None:
        raise RuntimeError(f"{part.steps[0].name} is no corpus stage")
    return corpus


def one_per_shard(decisions: Iterator[Arrays], names: Sequence[str], step: Step) -> Iterator[tuple[str, Arrays]]:
    """Yield ``(name, decision)`` for each shard. Raises ``RuntimeError`` if the counts differ: a bug of the stage."""
    for count, name in enumerate(names):
        arrays = next(decisions, None)
        if arrays is None:
            raise RuntimeError(f"{step.name} decided about {count} of {len(names)} shards")
        yield name, arrays
    if next(decisions, None) is not None:
        raise RuntimeError(f"{step.name} decided about more than {len(names)} shards")
