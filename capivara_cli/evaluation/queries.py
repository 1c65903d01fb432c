"""Turns captions into queries: as they are, translated first, or with a hard prompt around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.evaluation.translations import Translation
from capivara_cli.models.clip import Clip

Floats = npt.NDArray[np.float32]
Translate = Callable[[str, str], Translation]
"""(source language, target language) -> translator; raises ``CapivaraError`` if there is none."""

PIVOT = "en"
_CHUNK = 4096


@dataclass(frozen=True)
class ModelQueries:
    """The queries for a model, their language, and who translated them ("": nobody)."""

    captions: Captions
    lang: str
    by: str = ""


@dataclass(frozen=True)
class Queries:
    """How captions become queries (Zhang et al. 2023, arXiv 2305.03510).

    ``translated``: queries are translated into English (the paper's baseline 2, and the evaluation of routine 3).
    Queries for a model that was trained on translated queries are always translated into its pivot language.
    ``prompt``: a hard prompt, a text with {} where the caption goes.
    """

    translate: Translate
    translated: bool = False
    prompt: str = ""

    def of(self, captions: Captions, lang: str, clip: Clip) -> ModelQueries:
        """The queries for ``clip`` made of the captions in ``lang``, with the prompt around them."""
        asked = self.pivoted(captions, lang, clip)
        if not self.prompt:
            return asked
        texts = [self.prompt.replace("{}", text) for text in asked.captions.texts]
        return ModelQueries(Captions(texts, asked.captions.owners), asked.lang, asked.by)

    def pivoted(self, captions: Captions, lang: str, clip: Clip) -> ModelQueries:
        """The captions, translated if this model or the protocol requires it, without a prompt."""
        pivot = clip.translate_queries or (PIVOT if self.translated else "")
        if pivot in ("", lang):
            return ModelQueries(captions, lang)
        made = self.translate(lang, pivot).of(captions)
        return ModelQueries(made, pivot, ", ".join(made.by))

    def embedded_prompts(self, clip: Clip, lang: str, what: str) -> tuple[Callable[[list[str]], Floats], list[str]]:
        """A function that embeds class prompts in ``lang``, and a list to which it adds their translators."""
        translators: list[str] = []

        def embed(prompts: list[str]) -> Floats:
            asked = self.pivoted(Captions(prompts, [0] * len(prompts)), lang, clip)
            if len(asked.captions.texts) < len(prompts):
                raise CapivaraError(f"{what}: the translation of a prompt in {lang} is empty")
            if asked.by and asked.by not in translators:
                translators.append(asked.by)
            return embed_texts(clip, asked.captions.texts, asked.lang, f"eval: {lang} prompts")

        return embed, translators


def embed_texts(clip: Clip, texts: Sequence[str], lang: str, what: str) -> Floats:
    """Text embeddings [T, d]. Equal texts are embedded once, so they get equal embeddings whatever their batch."""
    different = list(dict.fromkeys(texts))
    place = {text: index for index, text in enumerate(different)}
    blocks = [np.zeros((0, clip.dim), np.float32)]
    progress = console.Progress(what, len(different))
    for start in range(0, len(different), _CHUNK):
        chunk = different[start : start + _CHUNK]
        blocks.append(clip.embed_texts(chunk, lang))
        progress.advance(len(chunk))
    progress.close()
    return np.concatenate(blocks[1:] or blocks)[[place[text] for text in texts]]
