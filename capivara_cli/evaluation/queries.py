"""What a model is asked: captions as they are, translated first, or with a hard prompt around them."""

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
"""What translates from one language into another; it may be missing, which is an error."""

PIVOT = "en"
_CHUNK = 4096


@dataclass(frozen=True)
class Asked:
    """The captions a model is given, the language they are in, and who translated them ("": nobody)."""

    captions: Captions
    lang: str
    by: str = ""


@dataclass(frozen=True)
class Queries:
    """How captions become queries (Zhang et al. 2023, arXiv 2305.03510).

    ``translated``: into English before they are asked (its baseline 2, and routine 3's evaluation). A model that was
    trained on translated queries is asked in its own pivot language in any case. ``prompt``: a hard prompt, a text
    with {} where the caption goes.
    """

    translate: Translate
    translated: bool = False
    prompt: str = ""

    def of(self, captions: Captions, lang: str, clip: Clip) -> Asked:
        asked = self.pivoted(captions, lang, clip)
        if not self.prompt:
            return asked
        texts = [self.prompt.replace("{}", text) for text in asked.captions.texts]
        return Asked(Captions(texts, asked.captions.owners), asked.lang, asked.by)

    def pivoted(self, captions: Captions, lang: str, clip: Clip) -> Asked:
        """Translated where this model or the protocol wants it, without a prompt."""
        pivot = clip.translate_queries or (PIVOT if self.translated else "")
        if pivot in ("", lang):
            return Asked(captions, lang)
        made = self.translate(lang, pivot).of(captions)
        return Asked(made, pivot, ", ".join(made.by))

    def embedded_prompts(self, clip: Clip, lang: str, what: str) -> tuple[Callable[[list[str]], Floats], list[str]]:
        """What embeds class prompts in ``lang``, and the list that it notes in who translated them."""
        translators: list[str] = []

        def embed(prompts: list[str]) -> Floats:
            asked = self.pivoted(Captions(prompts, [0] * len(prompts)), lang, clip)
            if len(asked.captions.texts) < len(prompts):
                raise CapivaraError(f"{what}: a prompt in {lang} is translated to nothing")
            if asked.by and asked.by not in translators:
                translators.append(asked.by)
            return embed_texts(clip, asked.captions.texts, asked.lang, f"eval: {lang} prompts")

        return embed, translators


def embed_texts(clip: Clip, texts: Sequence[str], lang: str, what: str) -> Floats:
    """[T, d]: equal texts are embedded once, so they get equal embeddings, whatever batch they fall into."""
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
