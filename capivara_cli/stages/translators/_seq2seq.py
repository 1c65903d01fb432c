"""Translation models of transformers, or converted for CTranslate2, and their language tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.models import transformers_models
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._ctranslate2 import best_translations, checksum, count_operations, translator_in
from capivara_cli.stages.translators._sentences import join, split

BEAMS = 4
"""The default of Argos and Opus-MT; ``--beams 1`` is about twice as fast."""
LONGEST = 256
"""The most tokens of a sentence, and of its translation."""
_SENTENCES = {"cpu": 16, "cuda": 128}
"""The number of sentences that ``generate`` translates at once, by device: one number, see ``fixed_batches``."""

HINTS = (
    "--translator NAME:PATH takes a folder with the model, of transformers or converted for CTranslate2",
    "--translator argos and apertium have smaller models, for fewer languages",
)


@dataclass(frozen=True)
class Direction:
    """How a model is given its languages.

    ``source`` is ``src_lang`` of its tokenizer, ``prefix`` a token before the text, ``first`` the first output token.
    ``needs`` are tokens that its vocabulary must have. ``code`` is the code of the source language, whose sentences are
    split; it does not identify the model.
    """

    source: str = ""
    prefix: str = ""
    first: str = ""
    needs: tuple[str, ...] = ()
    code: str = field(default="en", repr=False)


class Model(Protocol):
    """Maps token lists to their best translations, without the ``first`` token and the end token."""

    def __call__(self, rows: Sequence[list[int]], /) -> list[list[int]]: ...


class Seq2Seq:
    """Translates texts sentence by sentence, in batches of similar length."""

    def __init__(self, by: str, version: str, tokenizer: Any, model: Model, direction: Direction, script: str) -> None:
        self.by = by
        self.version = version
        self._tokenizer = tokenizer
        self._model = model
        self._direction = direction
        self._script = script

    def __call__(self, texts: list[str]) -> list[str]:
        split_texts = [[each for each in split(text, self._direction.code) if each.strip()] for text in texts]
        distinct = list(dict.fromkeys(sentence for sentences in split_texts for sentence in sentences))
        translated = dict(zip(distinct, self._translated(distinct), strict=True))
        return [join([translated[each] for each in sentences], self._script) for sentences in split_texts]

    def _translated(self, sentences: list[str]) -> list[str]:
        if not sentences:
            return []
        rows = [self._ids(sentence) for sentence in sentences]
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        translated = self._model([rows[index] for index in order])
        texts = [""] * len(rows)
        for index, ids in zip(order, translated, strict=True):
            texts[index] = self._tokenizer.decode(ids, skip_special_tokens=True).strip()
        return texts

    def _ids(self, sentence: str) -> list[int]:
        ids = self._tokenizer(f"{self._direction.prefix} {sentence}".strip())["input_ids"]
        return ids if len(ids) <= LONGEST else [*ids[: LONGEST - 1], ids[-1]]  # the last token ends the sentence


class TransformersModel:
    """``generate`` of transformers, in batches of one size: a translation does not depend on the rest of its batch.

    If memory runs out, the batches are smaller from then on.
    """

    def __init__(self, model: Any, pad: int, first: int | None, beams: int) -> None:
        from capivara_cli.models.decoding import Halving

        self.model = model
        self.pad = pad
        self.first = first
        self.beams = beams
        self._fit = Halving(_SENTENCES.get(model.device.type, _SENTENCES["cpu"]))

    def __call__(self, rows: Sequence[list[int]]) -> list[list[int]]:
        from capivara_cli.models.fixed_batches import by_width, fixed_batches

        translated: list[list[int]] = [[] for _ in rows]
        for width, indexes in by_width([len(row) for row in rows], LONGEST).items():
            for chosen, batch in fixed_batches(indexes, self._fit.size):
                found = self._fit([rows[index] for index in batch], partial(self._generated, width))
                for index, tokens in zip(chosen, found, strict=False):  # the rest fills up the batch
                    translated[index] = tokens
        return translated

    def _generated(self, width: int, rows: Sequence[list[int]]) -> list[list[int]]:
        import torch

        device = self.model.device
        ids = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows], device=device)
        with torch.inference_mode():
            generated = self.model.generate(
                input_ids=ids,
                attention_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device),
                forced_bos_token_id=self.first,
                num_beams=self.beams,
                do_sample=False,
                max_new_tokens=LONGEST,  # a constant: a translation must not depend on the other texts of its batch
            )
        return [[token for token in row[1:] if token != self.first] for row in generated.tolist()]


class CTranslate2Model:
    """A model converted with ``ct2-transformers-converter``: three to ten times as fast on a CPU."""

    def __init__(self, folder: Path, tokenizer: Any, first: str, setup: Setup, beams: int) -> None:
        self.model = translator_in(folder, setup.device)
        self.folder = folder
        self.tokenizer = tokenizer
        self.first = first
        self.beams = beams

    def __call__(self, rows: Sequence[list[int]]) -> list[list[int]]:
        tokens = [self.tokenizer.convert_ids_to_tokens(row) for row in rows]
        settings = {"beam_size": self.beams, "max_decoding_length": LONGEST}
        translated = best_translations(self.model, tokens, self.first, settings)
        count_operations(self.folder, sum(map(len, tokens)), sum(map(len, translated)), self.beams)
        words = [[word for word in each if word != self.first] for each in translated]
        return [self.tokenizer.convert_tokens_to_ids(each) for each in words]


@dataclass(frozen=True)
class Family:
    """A kind of models: the plugin's name, the default model and its download size."""

    name: str
    default: str
    size: str


def load(family: Family, variant: str, by: str, direction: Direction, target: Language, setup: Setup) -> Seq2Seq:
    """The model that ``variant`` names (ORG/NAME or a folder), else the family's default, for one direction.

    Raises ``CapivaraError`` if the model cannot be loaded or does not know a language.
    """
    folder, label = _folder(family, variant)
    tokenizer = _tokenizer(folder, direction.source)
    for token in direction.needs:
        if not _has(tokenizer, token):
            raise CapivaraError(
                f"{family.name}: {label} does not support this language: its vocabulary has no {token!r}",
                "nllb knows 200 languages; see: capivara list languages",
            )
    beams = setup.decoding.beams or BEAMS
    version = f"{label} {checksum(folder)} {direction} beams={beams}"
    if (folder / "model.bin").is_file():
        model: Model = CTranslate2Model(folder, tokenizer, direction.first, setup, beams)
    else:
        from transformers import AutoModelForSeq2SeqLM

        first = tokenizer.convert_tokens_to_ids(direction.first) if direction.first else None
        loaded = transformers_models.load_model(
            AutoModelForSeq2SeqLM, folder, setup, half="bfloat16"
        )  # T5 overflows float16
        model = TransformersModel(loaded, tokenizer.pad_token_id or 0, first, beams)
    return Seq2Seq(by, version, tokenizer, model, direction, target.script)


def vocabulary(family: Family, variant: str) -> set[str]:
    """The tokens of a model."""
    folder, _ = _folder(family, variant)
    return set(_tokenizer(folder, "").get_vocab())


def _folder(family: Family, variant: str) -> tuple[Path, str]:
    """The model's folder, and its label in ``version``."""
    name = variant or family.default
    size = "" if variant else family.size
    folder = transformers_models.folder(name, "the translator's weights", size, HINTS)
    return folder, transformers_models.label(name, folder)


def _tokenizer(folder: Path, source: str) -> Any:
    from transformers import AutoTokenizer

    transformers_models.without_bars()
    try:
        arguments = {"src_lang": source} if source else {}
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, **arguments)
    except transformers_models.LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: its tokenizer cannot be loaded: {error}") from error


def _has(tokenizer: Any, token: str) -> bool:
    found = tokenizer.convert_tokens_to_ids(token)
    return found is not None and found != tokenizer.unk_token_id
