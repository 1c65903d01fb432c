"""Opus-MT of Helsinki-NLP: one small Marian model per pair of languages; opus:MODEL names another, such as tc-big."""

from __future__ import annotations

from capivara_cli.languages import Language, get
from capivara_cli.models import hub
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._seq2seq import Direction, Family, Seq2Seq, vocabulary
from capivara_cli.stages.translators._seq2seq import load as load_model


def load(variant: str, *, source: str, target: str, setup: Setup) -> Seq2Seq:
    """``opus`` takes Helsinki-NLP/opus-mt-SOURCE-TARGET; a token such as ``>>por<<`` names one of several targets."""
    start, end = get(source), get(target)
    family = Family("opus", default(start, end), "about 300 MB")
    known = vocabulary(family, variant)
    names = [*([end.flores.partition("_")[0], end.flores] if end.flores else []), *end.apertium, end.code]
    token = next((f">>{name}<<" for name in names if f">>{name}<<" in known), "")
    if not token and any(word.startswith(">>") and word.endswith("<<") for word in known):
        token = f">>{names[0]}<<"  # the model lacks it, and the error names it
    direction = Direction(prefix=token, needs=(token,) if token else (), code=start.code)
    return load_model(family, variant, f"opus:{start.code}-{end.code}", direction, end, setup)


def default(start: Language, end: Language) -> str:
    """The default model of a pair; Opus-MT uses the two-letter codes of ISO 639 where they exist."""
    return f"Helsinki-NLP/opus-mt-{start.code.partition('-')[0]}-{end.code.partition('-')[0]}"


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The revision of the model in the local cache; None for the models of a source that only the captions tell."""
    if not variant and source is None:
        return None
    return hub.revision(variant or default(get(source or target), get(target)))
