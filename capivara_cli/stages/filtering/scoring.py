"""Image-text scores: a batch of images is embedded together, and each distinct text once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from capivara_cli.models.clip import Clip
from capivara_cli.models.image_vectors import embed_to_store
from capivara_cli.models.precision import precision
from capivara_cli.shards.embedding import unit
from capivara_cli.stages.filtering.chains import judge_of
from capivara_cli.stages.filtering.sample_facts import DECIMALS, SampleFacts, Scoring, of_score, with_of_score

_NOISE = 0.6 * 10**-DECIMALS  # rounding moves a stored score by 0.5 of the last digit; the rest is float noise
_NOISE_BF16 = 0.005  # the largest change of a score by bfloat16

Text = tuple[str, str]
"""A text and its language."""


class Scorer:
    """Embeds the images and captions of a batch of samples and scores the captions."""

    def __init__(self, clip: Clip, scoring: Scoring) -> None:
        self.clip = clip
        self.scoring = scoring
        text_tower = getattr(clip.model, "text", clip.model)
        self._half = precision(scoring.precision, clip.device, text_tower) == torch.bfloat16
        self.noise = _NOISE_BF16 if self._half else _NOISE
        self.marks_language = bool(getattr(getattr(clip.tokenizer, "tokenizer", None), "src_lang", None))

    def __call__(self, batch: Sequence[SampleFacts]) -> Sequence[SampleFacts]:
        """Set embeddings (float16 [dim]) and scores in the facts; returns the same facts."""
        used = [facts for facts in batch if not facts.dropped]
        images = embed_to_store(self.clip, [facts.prepared for facts in used if facts.prepared is not None])
        indexes = [facts.scored_captions(self.scoring) for facts in used]
        pairs = (self._texts(facts, index) for facts, each in zip(used, indexes, strict=True) for index in each)
        texts = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
        embeddings = dict(zip(texts, self._embed(texts), strict=True))
        for facts, image, each in zip(used, images, indexes, strict=True):
            facts.vector, facts.tower, facts.prepared = image, self.clip.identity, None
            self._score(facts, unit(image), each, embeddings)
        return batch

    def _texts(self, facts: SampleFacts, index: int) -> list[Text]:
        """The texts to embed for a caption: its own text, then the other text that judges it, if that can decide.

        A language that is not known is "": the tokenizer uses its default.
        """
        caption = facts.captions[index]
        judge = judge_of(caption) if self.scoring.by != "text" else None
        texts = [(caption.text, caption.lang), *([judge] if judge is not None else [])]
        return texts if self.marks_language else [(text, "") for text, _ in texts]

    def _embed(self, pairs: list[Text]) -> np.ndarray:
        """The embeddings of texts, float32 [n, dim], L2-normalised."""
        texts, langs = [text for text, _ in pairs], [lang for _, lang in pairs]
        if not self._half:
            return self.clip.embed_texts(texts, langs)
        with torch.autocast(self.clip.device.partition(":")[0], torch.bfloat16):
            found = self.clip.embed_texts(texts, langs, normalize=False)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def _score(
        self, facts: SampleFacts, image: np.ndarray, indexes: list[int], embeddings: dict[Text, np.ndarray]
    ) -> None:
        for index in indexes:
            caption = facts.captions[index]
            own, *judge = (float(embeddings[text] @ image) for text in self._texts(facts, index))
            scored = replace(caption, score=stable_score(caption.score, own, self.noise))
            for score in judge:
                scored = with_of_score(scored, stable_score(of_score(caption), score, self.noise))
            facts.captions[index] = scored
        facts.set_scores(self.scoring)


def stable_score(before: float | None, score: float, noise: float = _NOISE) -> float:
    """The score, rounded; or the stored score ``before`` if the two differ only by float noise.

    Another machine or number of threads changes the seventh digit of an embedding, bfloat16 the third. Without this
    rule, a second run over the output there would sometimes round a score differently and write other bytes.
    """
    if isinstance(before, float) and abs(before - score) < noise and round(before, DECIMALS) == before:
        return before + 0.0
    return round(score, DECIMALS) + 0.0  # no negative zero
