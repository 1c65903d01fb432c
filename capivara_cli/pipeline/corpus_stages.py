"""Stages that must see all samples: where they cut a plan, and what they survey and decide with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Arrays, Corpus, Step


def wants_all(step: Step) -> bool:
    """Whether the plan is cut before this step."""
    return step.stage.corpus is not None and step.stage.corpus.wanted(step.options)


def parts_of(chain: Chain) -> list[Chain]:
    """The plan in pieces, each but the first beginning with a step that has to see all samples."""
    cuts = [number for number, step in enumerate(chain.steps) if wants_all(step)]
    bounds = [0, *cuts, len(chain.steps)]
    return [chain.part(start, stop) for start, stop in itertools.pairwise(bounds)]


def survey_env(part: Chain) -> Env:
    """An environment for a look at all samples: the models of the step, and books that nobody reads."""
    env = part.envs[0]
    return Env(env.settings, env.step, env.models, env.number, env.costs)


def corpus_of(part: Chain) -> Corpus:
    corpus = part.steps[0].stage.corpus
    if corpus is None:
        raise RuntimeError(f"{part.steps[0].name} is no corpus stage")
    return corpus


def one_per_shard(decisions: Iterator[Arrays], names: Sequence[str], step: Step) -> Iterator[tuple[str, Arrays]]:
    for count, name in enumerate(names):
        arrays = next(decisions, None)
        if arrays is None:
            raise RuntimeError(f"{step.name} decided about {count} of {len(names)} shards")
        yield name, arrays
    if next(decisions, None) is not None:
        raise RuntimeError(f"{step.name} decided about more than {len(names)} shards")
