"""Which captions of one sample stay, and whether the sample does: by rank, by threshold, by threshold and diversity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from capivara_cli import languages
from capivara_cli.stages.deduplication.captions import by_text, distinct_texts, diverse, is_synthetic
from capivara_cli.stages.filtering.scoring import Looked

RANK = 5
"""The paper's number of captions to keep of an image (arXiv 2310.13683)."""
CAPTION_FLOOR = 0.15
"""The paper's threshold for captions."""
IMAGE_FLOOR = 0.2
"""The paper's threshold for whole images."""

NO_CAPTION_LEFT = "no caption left"

On = Literal["best", "first", "mean"]


@dataclass(frozen=True)
class Selection:
    """``floor``: the least score, None for none; ``of_images``: whether it leaves out whole samples, judged ``on``
    their best, first or mean caption. ``k``: captions kept of an image, 0 for all. ``k_min`` captions at least stay
    when those more alike than ``max_alike`` are thinned out; None: they are not. ``per_lang``: ``k`` and ``k_min`` of
    each language."""

    floor: float | None = None
    of_images: bool = False
    on: On = "best"
    k: int = 0
    k_min: int | None = None
    max_alike: float = 0.3
    per_lang: bool = True

    @property
    def selects(self) -> bool:
        """Whether it can leave anything out."""
        return self.floor is not None or bool(self.k) or self.k_min is not None

    def falls_short(self, scores: Sequence[float]) -> str:
        """Why a sample with these captions, none left out, is dropped as a whole; "" when it stays."""
        if not self.of_images or self.floor is None:
            return ""
        if not scores:
            return "no caption to judge it by"
        if verdict(scores, self.on) >= self.floor:
            return ""
        return f"mean below {self.floor:g}" if self.on == "mean" else f"{self.on} caption below {self.floor:g}"


def verdict(scores: Sequence[float], on: On) -> float:
    """The score of a sample whose captions have these."""
    if on == "mean":
        return sum(scores) / len(scores)
    return max(scores) if on == "best" else scores[0]


@dataclass
class Selected:
    """``left_out``: place of a caption -> why; ``dropped``: why the whole sample is, "" when it stays."""

    left_out: dict[int, str] = field(default_factory=dict)
    dropped: str = ""


def select(looked: Looked, rule: Selection) -> Selected:
    """Decide about the captions of one sample and about the sample.

    Threshold, then rank, then diversity: what was thinned out is not looked at again, so a second run leaves all as it
    is. For the same reason a sample has to pass ``falls_short`` with the captions that are left, too.
    """
    result = Selected(dict(looked.left_out), looked.dropped)
    places = [place for place in looked.judged if place not in result.left_out]
    result.dropped = result.dropped or rule.falls_short([looked.judged[place] for place in places])
    if result.dropped:
        return result
    if rule.floor is not None and not rule.of_images:
        result.left_out |= {place: f"below {rule.floor:g}" for place in places if looked.judged[place] < rule.floor}
    for group in _groups(looked, [place for place in places if place not in result.left_out], rule.per_lang):
        if rule.k:
            worse = sorted(group, key=lambda place: -looked.judged[place])[rule.k :]
            result.left_out |= dict.fromkeys(worse, f"beyond the best {rule.k}")
        if rule.k_min is not None:
            result.left_out |= _alike(looked, [place for place in group if place not in result.left_out], rule)
    if len(result.left_out) == len(looked.captions) and (result.left_out or rule.selects):
        result.dropped = NO_CAPTION_LEFT
    elif places:
        result.dropped = rule.falls_short([looked.judged[place] for place in places if place not in result.left_out])
    return result


def _groups(looked: Looked, places: list[int], per_lang: bool) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for place in places:
        groups.setdefault(languages.code_of(looked.captions[place].lang) if per_lang else "", []).append(place)
    return list(groups.values())


def _alike(looked: Looked, group: list[int], rule: Selection) -> dict[int, str]:
    """Of the captions at these places those that say what others say: place -> why it is left out."""
    captions = [looked.captions[place] for place in group]
    texts = by_text(looked.captions)
    synthetic = [is_synthetic(each, texts) for each in captions]
    rank = [(-looked.judged[place], made, place) for place, made in zip(group, synthetic, strict=True)]
    distinct = distinct_texts(captions, rank)
    stay = diverse(captions, rank, distinct, rule.k_min or 1, rule.max_alike)
    gone = {group[place]: "that are exact duplicates" for place in range(len(group)) if place not in distinct}
    return gone | {group[place]: "that are near-duplicates" for place in distinct if place not in stay}
