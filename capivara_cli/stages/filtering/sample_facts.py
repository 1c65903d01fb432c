"""What ``filter`` knows of a sample: its captions, their scores, the embedding of its image."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from capivara_cli import languages
from capivara_cli.shards.sample import Caption

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from capivara_cli.shards.embedding import TowerIdentity

DECIMALS = 4
OF_LANG = "of_lang"
"""The key of a translation or rewrite for the language of the first text of its chain."""
OF_NEAREST = "of_nearest"
"""The key of a caption for the text that judges it, where that is neither its own nor ``of``."""
OF_SCORE = "of_score"
"""The key of a caption for the score of the other text that judges it, which may no longer be in the sample."""


@dataclass(frozen=True)
class Scoring:
    """Which captions are scored, and which score decides.

    ``codes``: languages to score, empty for all. ``by``: "text", "original" or "best", see ``deciding_score``.
    ``precision`` of the text tower: "auto", "fp32" or "bf16".
    """

    codes: frozenset[str] = frozenset()
    by: str = "original"
    precision: str = "auto"

    def is_wanted(self, caption: Caption) -> bool:
        """Whether a caption is in one of the languages."""
        return not self.codes or languages.code_of(caption.lang) in self.codes

    def deciding_score(self, caption: Caption) -> float | None:
        """The score that decides about a caption: of its text, of the text that judges it, or the better of the two.

        A caption that no other text judges has the score of its text, and so has one whose judge has no known score.
        None if no score is known.
        """
        judge = of_score(caption) if self.by != "text" and caption.of is not None else None
        known = [score for score in (caption.score, judge) if score is not None]
        if self.by == "original" and judge is not None:
            return judge
        return max(known) if known else None


@dataclass
class SampleFacts:
    """The facts of a sample before captions are selected.

    ``vector``: the embedding of the image, float16 [dim], and ``tower``: the model that computed it; None without
    scoring. ``prepared``: the stored embedding or the pixels, until the batch is embedded. ``scores``: index of a
    caption -> the score that decides about it; ``removed``: index of a caption -> the rule that removes it.
    ``dropped``: why the whole sample is removed, "" if it stays; ``failed``: whether that is because it is unusable.
    """

    captions: list[Caption]
    vector: np.ndarray | None = None
    tower: TowerIdentity | None = None
    scores: dict[int, float] = field(default_factory=dict)
    removed: dict[int, str] = field(default_factory=dict)
    dropped: str = ""
    failed: bool = False
    prepared: np.ndarray | Tensor | None = None

    def set_scores(self, scoring: Scoring) -> SampleFacts:
        """Set ``scores`` from the captions; returns itself."""
        for index in self.scored_captions(scoring):
            score = scoring.deciding_score(self.captions[index])
            if score is not None:
                self.scores[index] = score
        return self

    def scored_captions(self, scoring: Scoring) -> list[int]:
        """Indexes of the captions to score: those in one of the languages that no rule has removed."""
        wanted = (index for index, caption in enumerate(self.captions) if scoring.is_wanted(caption))
        return [index for index in wanted if index not in self.removed]


def of_score(caption: Caption) -> float | None:
    """The stored score of the other text that judges a caption; None if no valid score is stored."""
    text = dict(caption.more).get(OF_SCORE)
    value = json.loads(text) if text is not None else None
    return value if isinstance(value, float) and -1.01 < value < 1.01 else None


def with_of_score(caption: Caption, score: float) -> Caption:
    """The caption with the score of the other text that judges it."""
    return with_key(caption, OF_SCORE, score)


def with_key(caption: Caption, key: str, value: object) -> Caption:
    """The caption with a key of our own beside those of the shard format; a new key comes last."""
    return replace(caption, more=tuple({**dict(caption.more), key: json.dumps(value)}.items()))
