"""Image-text scores: images embedded in batches, each distinct text once, whatever image and caption it belongs to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from capivara_cli import languages
from capivara_cli.shards.embedding import unit
from capivara_cli.shards.sample import Caption

if TYPE_CHECKING:
    import numpy as np

    from capivara_cli.models.clip import Clip

DECIMALS = 4
OF_SCORE = "of_score"
"""The key of a caption that holds the score of the text it comes ``of``, which may have been left out since."""
_NOISE = 0.6 * 10**-DECIMALS  # a stored score is at most 0.5 of the last digit away; the rest is float noise
_NOISE_BF16 = 0.005  # what bfloat16 changes in a score
_FULL_ENOUGH = 64
"""Texts in a batch from which on a text has the same embedding in bfloat16, bit for bit, whatever it is batched with.

Seen with a full-size XLM-R on CPUs with AMX; smaller batches are multiplied in another order.
"""

Said = tuple[str, str]
"""A text and its language."""


@dataclass(frozen=True)
class Scoring:
    """``codes``: the languages to score, empty for all; ``by``: which score a caption is judged by, see ``judged``."""

    codes: frozenset[str] = frozenset()
    by: str = "own"
    precision: str = "auto"

    def is_wanted(self, caption: Caption) -> bool:
        """Whether a caption is in one of the languages."""
        return not self.codes or languages.code_of(caption.lang) in self.codes

    def judged(self, caption: Caption) -> float | None:
        """The score that decides for a caption: its own, that of the text it comes ``of``, or the better of the two.

        A caption that comes of no other is judged by its own. None where no score is known.
        """
        source = of_score(caption) if self.by != "own" and caption.of is not None else None
        known = [score for score in (caption.score, source) if score is not None]
        if self.by == "original" and source is not None:
            return source
        return max(known) if known else None


@dataclass
class Looked:
    """What is known of a sample before anything is selected.

    ``judged``: place of a caption -> the score that decides for it; ``left_out``: place -> why a rule leaves it out;
    ``dropped``: why the whole sample is, "" when it is not: a rule says so, or it ``failed``, cannot be used.
    ``vector``: float16 [dim] or, until it is embedded, the preprocessed image; None where nothing is scored, as is
    ``clip``, the identity of the image tower.
    """

    captions: list[Caption]
    vector: Any = None
    clip: dict[str, str] | None = None
    judged: dict[int, float] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    dropped: str = ""
    failed: bool = False

    def judge(self, scoring: Scoring) -> Looked:
        """Itself, with ``judged`` filled in from the captions as they are scored."""
        for place, caption in enumerate(self.captions):
            if place not in self.left_out and scoring.is_wanted(caption):
                score = scoring.judged(caption)
                if score is not None:
                    self.judged[place] = score
        return self


def _in_bf16(clip: Clip, asked: str) -> bool:
    import torch

    from capivara_cli.models.precision import precision

    return precision(asked, clip.device, getattr(clip.model, "text", clip.model)) == torch.bfloat16


class Scorer:
    """Embeds the images and captions of a batch of samples and scores them."""

    def __init__(self, clip: Clip, scoring: Scoring) -> None:
        self.clip = clip
        self.scoring = scoring
        self._half = _in_bf16(clip, scoring.precision)
        self.noise = _NOISE_BF16 if self._half else _NOISE
        self.marks_language = bool(getattr(getattr(clip.tokenizer, "tokenizer", None), "src_lang", None))

    def __call__(self, batch: Sequence[Looked]) -> Sequence[Looked]:
        """The same samples, their vectors (float16 [dim]) and the scores of their captions filled in."""
        import numpy as np

        used = [each for each in batch if not each.dropped]
        images = [each for each in used if not isinstance(each.vector, np.ndarray)]
        embedded = self.clip.embed_images([each.vector for each in images]).astype(np.float16)
        for each, vector in zip(images, embedded, strict=True):
            each.vector = vector
        said = dict.fromkeys(said for each in used for place in self._places(each) for said in self._said(each, place))
        texts = dict(zip(said, self._embed(list(said)), strict=True))
        for each in used:
            self._score(each, texts)
        return batch

    def _places(self, looked: Looked) -> list[int]:
        return [
            place
            for place, each in enumerate(looked.captions)
            if place not in looked.left_out and self.scoring.is_wanted(each)
        ]

    def _said(self, looked: Looked, place: int) -> list[Said]:
        """What has to be embedded for a caption: itself, and what it comes of when that counts.

        A source may be gone from the sample, and its language with it: it is read in the tokenizer's own language.
        """
        caption = looked.captions[place]
        texts = [(caption.text, caption.lang if self.marks_language else "")]
        if self.scoring.by != "own" and caption.of is not None:
            texts.append((caption.of, ""))
        return texts

    def _embed(self, said: list[Said]) -> np.ndarray:
        """[n, dim] float32, L2-normalised."""
        import numpy as np

        texts, langs = [text for text, _ in said], [lang for _, lang in said]
        if not self._half:
            return self.clip.embed_texts(texts, langs)
        import torch

        from capivara_cli.models.clip import TEXT_BATCH

        rest = len(said) % TEXT_BATCH
        fill = _FULL_ENOUGH - rest if 0 < rest < _FULL_ENOUGH else 0
        with torch.autocast(self.clip.device.partition(":")[0], torch.bfloat16):
            found = self.clip.embed_texts(texts + texts[:1] * fill, langs + langs[:1] * fill, normalize=False)
        return found[: len(said)] / np.maximum(np.linalg.norm(found[: len(said)], axis=1, keepdims=True), 1e-12)

    def _score(self, looked: Looked, texts: dict[Said, np.ndarray]) -> None:
        image = unit(looked.vector)
        looked.clip = self.clip.identity
        for place in self._places(looked):
            caption = looked.captions[place]
            own, *source = (float(texts[said] @ image) for said in self._said(looked, place))
            scored = replace(caption, score=steady(caption.score, own, self.noise))
            for score in source:
                scored = with_of_score(scored, steady(of_score(caption), score, self.noise))
            looked.captions[place] = scored
        looked.judge(self.scoring)


def steady(before: Any, score: float, noise: float = _NOISE) -> float:
    """The score, rounded; the one before if it differs only by noise.

    How a text is batched changes its embedding in the seventh digit, and bfloat16 in the third. Without this, now and
    then a second run over the output would round a score the other way and give other bytes.
    """
    if isinstance(before, float) and abs(before - score) < noise and round(before, DECIMALS) == before:
        return before + 0.0
    return round(score, DECIMALS) + 0.0  # no negative zero


def of_score(caption: Caption) -> float | None:
    """The stored score of the text a caption comes ``of``; None when none, or nothing that is a score, is stored."""
    text = dict(caption.more).get(OF_SCORE)
    value = json.loads(text) if text is not None else None
    return value if isinstance(value, float) and -1.01 < value < 1.01 else None


def with_of_score(caption: Caption, score: float) -> Caption:
    """The caption with the score of the text it comes of."""
    return with_key(caption, OF_SCORE, score)


def with_key(caption: Caption, key: str, value: Any) -> Caption:
    """The caption with one of the keys that are not our format's own set; a new one goes to the end."""
    return replace(caption, more=tuple({**dict(caption.more), key: json.dumps(value)}.items()))
