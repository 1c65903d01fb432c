"""An auxiliary loss for the toy captioner: predict the facts of a scene from its image patches and its queries.

It replaces the first stage of BLIP-2, in which the Q-Former learns visual features before the language model is
trained. The heads are not saved. With the caption loss only, training would take several times as many steps.
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
# One more class for a missing group. A group has at most three things.
FACT_SIZES = [*[*(size + 1 for size in THING_SIZES), 4] * 2, len(scenes.RELATIONS) + 1, len(scenes.BACKGROUNDS)]
MOST_THINGS = 3


@dataclass(frozen=True)
class SceneLabels:
    """Labels of N scenes: `facts` (N, 12), the patch of each thing (N, 3), and its attributes (N, 3, 4)."""

    facts: torch.Tensor
    places: torch.Tensor
    things: torch.Tensor

    def rows(self, chosen: Sequence[int]) -> SceneLabels:
        """Return the labels of some scenes, by their indices."""
        return SceneLabels(self.facts[chosen], self.places[chosen], self.things[chosen])


def scene_labels(world: Sequence[scenes.Scene], grid: int) -> SceneLabels:
    """Return the labels of the scenes, whose images are `grid` by `grid` patches after one class token."""
    facts, places, things = [], [], []
    for scene in world:
        facts.append(_facts(scene))
        missing = MOST_THINGS - len(scene.things)
        centers = [1 + int(y * grid) * grid + int(x * grid) for x, y in scenes._places(scene)]
        places.append(centers + [0] * missing)
        things.append([_attributes(thing) for thing in scene.things] + [[NOTHING] * len(_THING_TABLES)] * missing)
    return SceneLabels(torch.tensor(facts), torch.tensor(places), torch.tensor(things))


def _attributes(thing: scenes.Thing) -> list[int]:
    values = (thing.shape, thing.color, thing.size, thing.pattern)
    return [table.index(value) for table, value in zip(_THING_TABLES, values, strict=True)]


def _facts(scene: scenes.Scene) -> list[int]:
    """Five class indices for each of two groups (0 for a missing group), then the relation and the background."""
    groups = [[1 + value for value in _attributes(thing)] + [count] for count, thing in scenes.groups(scene)]
    groups += [[0] * (len(_THING_TABLES) + 1)] * (2 - len(groups))
    relation = 0 if scene.relation is None else 1 + scenes.RELATIONS.index(scene.relation)
    return [*groups[0], *groups[1], relation, list(scenes.BACKGROUNDS).index(scene.background)]


class AuxiliaryHeads(torch.nn.Module):
    """Linear heads on the patches of the vision tower (B, 1 + patches, D) and the queries of the Q-Former (B, Q, D)."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.things = torch.nn.Linear(width, sum(THING_SIZES))
        self.facts = torch.nn.Linear(width * queries, sum(FACT_SIZES))

    def forward(self, patches: torch.Tensor, queries: torch.Tensor, labels: SceneLabels) -> torch.Tensor:
        """Return the sum of two mean cross-entropies: things predicted from their patches, facts from the queries."""
        at_things = patches.gather(1, labels.places[:, :, None].expand(-1, -1, patches.shape[2]))
        things = _mean_loss(self.things(at_things).flatten(0, 1), labels.things.flatten(0, 1), THING_SIZES)
        return things + _mean_loss(self.facts(queries.flatten(1)), labels.facts, FACT_SIZES)


def _mean_loss(logits: torch.Tensor, labels: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    parts = logits.split(sizes, dim=1)
    losses = [cross_entropy(part, labels[:, index], ignore_index=NOTHING) for index, part in enumerate(parts)]
    return torch.stack(losses).mean()


def visual_features(model: Blip2ForConditionalGeneration, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the patches and the queries of `pixels` (B, 3, H, W) without running the language model."""
    patches = model.vision_model(pixels).last_hidden_state
    start = model.query_tokens.expand(len(pixels), -1, -1)
    return patches, model.qformer(query_embeds=start, encoder_hidden_states=patches).last_hidden_state
