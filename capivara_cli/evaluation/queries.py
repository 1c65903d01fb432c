"""Turn captions into queries: unchanged, translated, or inside a hard prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.evaluation.set_translator import SetTranslator
from capivara_cli.models.clip import Clip

Floats = npt.NDArray[np.float32]
Translate = Callable[[str, str], SetTranslator]
"""(source language, target language) -> translator; raises ``CapivaraError`` if there is none."""

PIVOT = "en"
_CHUNK = 4096


@dataclass(frozen=True)
class ModelQueries:
    """The queries for a model, their language, and their translators ("" for none)."""

    captions: Captions
    lang: str
    by: str = ""


@dataclass(frozen=True)
class Queries:
    """How captions become queries (Zhang et al. 2023, arXiv 2305.03510).

    ``translated``: translate queries into English (the paper's baseline 2, and the evaluation of routine 3). Queries
    for a model that was trained on translated queries are always translated into its pivot language. ``prompt``: a hard
    prompt, a text with {} where the caption goes.
    """

    translate: Translate
    translated: bool = False
    prompt: str = ""

    def of(self, captions: Captions, lang: str, clip: Clip) -> ModelQueries:
        """The queries for ``clip`` from the captions in ``lang``, each inside the prompt."""
        queries = self.pivoted(captions, lang, clip)
        if not self.prompt:
            return queries
        texts = [self.prompt.replace("{}", text) for text in queries.captions.texts]
        return ModelQueries(Captions(texts, queries.captions.owners), queries.lang, queries.by)

    def pivoted(self, captions: Captions, lang: str, clip: Clip) -> ModelQueries:
        """The captions as queries without a prompt; translated if ``clip`` or ``translated`` requires it."""
        pivot = clip.translate_queries or (PIVOT if self.translated else "")
        if pivot in ("", lang):
            return ModelQueries(captions, lang)
        translation = self.translate(lang, pivot).of(captions)
        return ModelQueries(translation, pivot, ", ".join(translation.by))

    def embedded_prompts(self, clip: Clip, lang: str, what: str) -> tuple[Callable[[list[str]], Floats], list[str]]:
        """A function that embeds class prompts in ``lang``, and a list to which it adds their translators.

        The function raises ``CapivaraError``, which names ``what``, if the translation of a prompt is empty.
        """
        translators: list[str] = []

        def embed(prompts: list[str]) -> Floats:
            queries = self.pivoted(Captions(prompts, [0] * len(prompts)), lang, clip)
            if len(queries.captions.texts) < len(prompts):
                raise CapivaraError(f"{what}: the translation of a prompt in {lang} is empty")
            if queries.by and queries.by not in translators:
                translators.append(queries.by)
            return embed_texts(clip, queries.captions.texts, queries.lang, f"eval: {lang} prompts")

        return embed, translators


def embed_texts(clip: Clip, texts: Sequence[str], lang: str, what: str) -> Floats:
    """The embeddings [T, d] of T texts; ``what`` labels the progress bar.

    Equal texts are embedded once.
    """
    distinct = list(dict.fromkeys(texts))
    row = {text: index for index, text in enumerate(distinct)}
    blocks = [np.zeros((0, clip.dim), np.float32)]
    progress = console.Progress(what, len(distinct))
    for start in range(0, len(distinct), _CHUNK):
        chunk = distinct[start : start + _CHUNK]
        blocks.append(clip.embed_texts(chunk, lang))
        progress.advance(len(chunk))
    progress.close()
    return np.concatenate(blocks[1:] or blocks)[[row[text] for text in texts]]
