"""NLLB-200 of Meta: any of 200 languages to any other, Xhosa among them; non-commercial licence (CC BY-NC)."""

from __future__ import annotations

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language, get
from capivara_cli.models import hub
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._seq2seq import Direction, Family, Seq2Seq
from capivara_cli.stages.translators._seq2seq import load as load_model

FAMILY = Family("nllb", "facebook/nllb-200-distilled-600M", "about 2.5 GB")


def load(variant: str, *, source: str, target: str, setup: Setup) -> Seq2Seq:
    """``nllb`` or ``nllb:MODEL``; FLORES-200 codes (``xho_Latn``) name the languages."""
    start, end = get(source), get(target)
    here, there = _code(start), _code(end)
    direction = Direction(source=here, first=there, needs=(here, there), code=start.code)
    return load_model(FAMILY, variant, f"nllb:{start.code}-{end.code}", direction, end, setup)


def _code(language: Language) -> str:
    if not language.flores:
        raise CapivaraError(
            f"nllb: {language.name} is not among its 200 languages", "--translator apertium may have it"
        )
    return language.flores


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The revision of the model in the local cache."""
    return hub.revision(variant or FAMILY.default)
