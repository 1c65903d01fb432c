"""MADLAD-400 of Google: more than 400 languages, free for any use (Apache licence); large."""

from __future__ import annotations

from capivara_cli.languages import get
from capivara_cli.models import hub
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._seq2seq import Direction, Family, Seq2Seq
from capivara_cli.stages.translators._seq2seq import load as load_model

FAMILY = Family("madlad", "google/madlad400-3b-mt", "about 12 GB")
_CODES = {"nb": "no", "he": "iw", "zh-Hant": "zh_Hant", "sr-Latn": "sr_Latn"}


def load(variant: str, *, source: str, target: str, setup: Setup) -> Seq2Seq:
    """``madlad`` or ``madlad:MODEL``; a T5; a token before the text names the target (``<2xh>``)."""
    start, end = get(source), get(target)
    token = f"<2{_CODES.get(end.code, end.code)}>"
    direction = Direction(prefix=token, needs=(token,), code=start.code)
    return load_model(FAMILY, variant, f"madlad:{start.code}-{end.code}", direction, end, setup)


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The revision of the model in the local cache."""
    return hub.revision(variant or FAMILY.default)
