"""Teach the toy captioner to see: the scene's facts, read off its image patches and its queries.

This stands in for BLIP-2's first stage, where the Q-Former learns to see before the language model learns to speak of
it. The heads are thrown away. From words alone the same vision takes several times the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from transformers import Blip2ForConditionalGeneration

from capivara_cli.toy import scenes

NOTHING = -100  # the class index that cross_entropy ignores

_THING_TABLES = (scenes.SHAPES, tuple(scenes.COLORS), tuple(scenes.SIZES), scenes.PATTERNS)
THING_SIZES = [len(table) for table in _THING_TABLES]
# One class more for a missing group; a group counts at most three things.
FACT_SIZES = [*[*(size + 1 for size in THING_SIZES), 4] * 2, len(scenes.RELATIONS) + 1, len(scenes.BACKGROUNDS)]
MOST_THINGS = 3


@dataclass(frozen=True)
class Truth:
    """What is to be seen in N scenes: `facts` (N, 12), and the patch (N, 3) and looks (N, 3, 4) of every thing."""

    facts: torch.Tensor
    places: torch.Tensor
    things: torch.Tensor

    def of(self, chosen: Sequence[int]) -> Truth:
        """Return the rows `chosen`."""
        return Truth(self.facts[chosen], self.places[chosen], self.things[chosen])


def truth(world: Sequence[scenes.Scene], grid: int) -> Truth:
    """Return what is to be seen in the scenes of `world`, drawn on `grid` by `grid` patches after one class token."""
    facts, places, things = [], [], []
    for scene in world:
        facts.append(_facts(scene))
        missing = MOST_THINGS - len(scene.things)
        centers = [1 + int(y * grid) * grid + int(x * grid) for x, y in scenes._places(scene)]
        places.append(centers + [0] * missing)
        things.append([_looks(thing) for thing in scene.things] + [[NOTHING] * len(_THING_TABLES)] * missing)
    return Truth(torch.tensor(facts), torch.tensor(places), torch.tensor(things))


def _looks(thing: scenes.Thing) -> list[int]:
    values = (thing.shape, thing.color, thing.size, thing.pattern)
    return [table.index(value) for table, value in zip(_THING_TABLES, values, strict=True)]


def _facts(scene: scenes.Scene) -> list[int]:
    """Five class indices for each of two groups (0 for a missing group), the relation, the background."""
    told = [[1 + value for value in _looks(thing)] + [count] for count, thing in scenes.groups(scene)]
    told += [[0] * (len(_THING_TABLES) + 1)] * (2 - len(told))
    relation = 0 if scene.relation is None else 1 + scenes.RELATIONS.index(scene.relation)
    return [*told[0], *told[1], relation, list(scenes.BACKGROUNDS).index(scene.background)]


class Sight(torch.nn.Module):
    """Linear heads on the vision tower's patches (B, 1 + patches, D) and on the Q-Former's queries (B, Q, D)."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.things = torch.nn.Linear(width, sum(THING_SIZES))
        self.facts = torch.nn.Linear(width * queries, sum(FACT_SIZES))

    def forward(self, patches: torch.Tensor, queries: torch.Tensor, true: Truth) -> torch.Tensor:
        """Return the mean cross-entropy of what each thing's patch tells of it and the queries of the scene, added."""
        at_things = patches.gather(1, true.places[:, :, None].expand(-1, -1, patches.shape[2]))
        things = _mean_loss(self.things(at_things).flatten(0, 1), true.things.flatten(0, 1), THING_SIZES)
        return things + _mean_loss(self.facts(queries.flatten(1)), true.facts, FACT_SIZES)


def _mean_loss(logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    parts = logits.split(sizes, dim=1)
    losses = [cross_entropy(part, labels[:, index], ignore_index=NOTHING) for index, part in enumerate(parts)]
    return torch.stack(losses).mean()


def look(model: Blip2ForConditionalGeneration, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the patches and the queries of `pixels` (B, 3, H, W) without running the language model."""
    patches = model.vision_model(pixels).last_hidden_state
    start = model.query_tokens.expand(len(pixels), -1, -1)
    return patches, model.qformer(query_embeds=start, encoder_hidden_states=patches).last_hidden_state
