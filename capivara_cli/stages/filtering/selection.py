"""Select the captions of one sample, and decide whether the sample stays: by rank, threshold and diversity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from capivara_cli import languages
from capivara_cli.stages.deduplication.captions import by_text, distinct_texts, diverse, is_synthetic
from capivara_cli.stages.filtering.sample_facts import SampleFacts

RANK = 5
"""The number of captions per image that the paper keeps (arXiv 2310.13683)."""
CAPTION_FLOOR = 0.15
"""The paper's threshold for captions."""
IMAGE_FLOOR = 0.2
"""The paper's threshold for whole images."""

NO_CAPTION_LEFT = "no caption left"

On = Literal["best", "first", "mean"]


@dataclass(frozen=True)
class CaptionRules:
    """The rules that select the captions of a sample.

    ``floor``: the lowest score that stays, None for any. ``of_images``: the floor applies to whole samples, by the
    score of their best or first caption or by the mean (``on``). ``k``: the number of captions to keep, 0 for all.
    ``k_min``: near-duplicates, with a similarity above ``max_alike``, are removed while more than this many captions
    are left; None keeps them. ``per_lang``: ``k`` and ``k_min`` count within each language.
    """

    floor: float | None = None
    of_images: bool = False
    on: On = "best"
    k: int = 0
    k_min: int | None = None
    max_alike: float = 0.3
    per_lang: bool = True

    @property
    def can_remove(self) -> bool:
        """Whether these rules can remove anything."""
        return self.floor is not None or bool(self.k) or self.k_min is not None

    def sample_objection(self, scores: Sequence[float]) -> str:
        """Why a sample is dropped whose remaining captions have these scores; "" if it stays."""
        if not self.of_images or self.floor is None:
            return ""
        if not scores:
            return "no caption to judge it by"
        if sample_score(scores, self.on) >= self.floor:
            return ""
        return f"mean below {self.floor:g}" if self.on == "mean" else f"{self.on} caption below {self.floor:g}"


def sample_score(scores: Sequence[float], on: On) -> float:
    """The score of a sample whose captions have these scores."""
    if on == "mean":
        return sum(scores) / len(scores)
    return max(scores) if on == "best" else scores[0]


@dataclass
class Selected:
    """``removed``: index of a caption -> why it is removed. ``dropped``: why the sample is dropped, "" if it stays."""

    removed: dict[int, str] = field(default_factory=dict)
    dropped: str = ""


def select(facts: SampleFacts, rules: CaptionRules) -> Selected:
    """Decide which captions of a sample stay, and whether it does: by threshold, then rank, then diversity.

    A second run over the output removes nothing. Therefore diversity comes last, and the sample must pass
    ``sample_objection`` again with the captions that stay.
    """
    result = Selected(dict(facts.removed), facts.dropped)
    scored = [index for index in facts.scores if index not in result.removed]
    result.dropped = result.dropped or rules.sample_objection([facts.scores[index] for index in scored])
    if result.dropped:
        return result
    if rules.floor is not None and not rules.of_images:
        result.removed |= {index: f"below {rules.floor:g}" for index in scored if facts.scores[index] < rules.floor}
    for group in _groups(facts, [index for index in scored if index not in result.removed], rules.per_lang):
        if rules.k:
            worse = sorted(group, key=lambda index: (-facts.scores[index], -_own_score(facts, index)))[rules.k :]
            result.removed |= dict.fromkeys(worse, f"not among the best {rules.k}")
        if rules.k_min is not None:
            result.removed |= _duplicates(facts, [index for index in group if index not in result.removed], rules)
    if len(result.removed) == len(facts.captions) and (result.removed or rules.can_remove):
        result.dropped = NO_CAPTION_LEFT
    elif scored:
        result.dropped = rules.sample_objection(
            [facts.scores[index] for index in scored if index not in result.removed]
        )
    return result


def _own_score(facts: SampleFacts, index: int) -> float:
    """The score of the text itself, which decides between texts of the same source."""
    score = facts.captions[index].score
    return score if score is not None else -2.0


def _groups(facts: SampleFacts, indexes: list[int], per_lang: bool) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for index in indexes:
        groups.setdefault(languages.code_of(facts.captions[index].lang) if per_lang else "", []).append(index)
    return list(groups.values())


def _duplicates(facts: SampleFacts, group: list[int], rules: CaptionRules) -> dict[int, str]:
    """Index -> reason for the captions of a group that are exact or near-duplicates."""
    captions = [facts.captions[index] for index in group]
    texts = by_text(facts.captions)
    rank = [
        (-facts.scores[index], is_synthetic(caption, texts), index)
        for index, caption in zip(group, captions, strict=True)
    ]
    distinct = distinct_texts(captions, rank)
    stay = diverse(captions, rank, distinct, rules.k_min or 1, rules.max_alike)
    removed = {group[place]: "that are exact duplicates" for place in range(len(group)) if place not in distinct}
    return removed | {group[place]: "that are near-duplicates" for place in distinct if place not in stay}
