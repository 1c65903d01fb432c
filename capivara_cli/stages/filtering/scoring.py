"""Image-text scores: the images of a batch are embedded together, and each distinct text once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from capivara_cli.models.clip import TEXT_BATCH, Clip
from capivara_cli.models.image_vectors import embed_to_store
from capivara_cli.models.precision import precision
from capivara_cli.shards.embedding import unit
from capivara_cli.stages.filtering.sample_facts import DECIMALS, SampleFacts, Scoring, of_score, with_of_score

_NOISE = 0.6 * 10**-DECIMALS  # a stored score is at most 0.5 of the last digit away; the rest is float noise
_NOISE_BF16 = 0.005  # what bfloat16 changes in a score
_FULL_ENOUGH = 64
"""The number of texts in a batch from which a text has the same embedding in bfloat16, bit for bit, in every batch.

Measured with a full-size XLM-R on CPUs with AMX; smaller batches are multiplied in another order.
"""

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
        """The same facts with embeddings (float16 [dim]) and scores filled in."""
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
        """What has to be embedded for a caption: its own text, then its source text if that counts.

        The source may have been removed from the sample, and its language with it: the tokenizer's default is used.
        """
        caption = facts.captions[index]
        texts = [(caption.text, caption.lang if self.marks_language else "")]
        if self.scoring.by != "own" and caption.of is not None:
            texts.append((caption.of, ""))
        return texts

    def _embed(self, pairs: list[Text]) -> np.ndarray:
        """[n, dim] float32, L2-normalised."""
        texts, langs = [text for text, _ in pairs], [lang for _, lang in pairs]
        if not self._half:
            return self.clip.embed_texts(texts, langs)
        rest = len(pairs) % TEXT_BATCH
        fill = _FULL_ENOUGH - rest if 0 < rest < _FULL_ENOUGH else 0
        with torch.autocast(self.clip.device.partition(":")[0], torch.bfloat16):
            found = self.clip.embed_texts(texts + texts[:1] * fill, langs + langs[:1] * fill, normalize=False)
        return found[: len(pairs)] / np.maximum(np.linalg.norm(found[: len(pairs)], axis=1, keepdims=True), 1e-12)

    def _score(
        self, facts: SampleFacts, image: np.ndarray, indexes: list[int], embeddings: dict[Text, np.ndarray]
    ) -> None:
        for index in indexes:
            caption = facts.captions[index]
            own, *source = (float(embeddings[text] @ image) for text in self._texts(facts, index))
            scored = replace(caption, score=steady(caption.score, own, self.noise))
            for score in source:
                scored = with_of_score(scored, steady(of_score(caption), score, self.noise))
            facts.captions[index] = scored
        facts.set_scores(self.scoring)


def steady(before: Any, score: float, noise: float = _NOISE) -> float:
    """The score, rounded; the stored score ``before`` if the two differ by float noise only.

    The composition of a batch changes an embedding in its seventh digit, bfloat16 in its third. Without this rule, a
    second run over the output would sometimes round a score differently and write other bytes.
    """
    if isinstance(before, float) and abs(before - score) < noise and round(before, DECIMALS) == before:
        return before + 0.0
    return round(score, DECIMALS) + 0.0  # no negative zero
