"""M2M-100 of Meta: a hundred languages, free for any use (MIT licence)."""

from __future__ import annotations

from capivara_cli.languages import get
from capivara_cli.models import hub
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._seq2seq import Direction, Family, Seq2Seq
from capivara_cli.stages.translators._seq2seq import load as load_model

FAMILY = Family("m2m100", "facebook/m2m100_418M", "about 1.9 GB")
_CODES = {"nb": "no", "fil": "tl", "zh-Hant": "zh"}


def load(variant: str, *, source: str, target: str, setup: Setup) -> Seq2Seq:
    """``m2m100`` or ``m2m100:MODEL``; tokens such as ``__xh__`` name the languages."""
    start, end = get(source), get(target)
    here, there = (_CODES.get(each.code, each.code) for each in (start, end))
    direction = Direction(source=here, first=f"__{there}__", needs=(f"__{here}__", f"__{there}__"), code=start.code)
    return load_model(FAMILY, variant, f"m2m100:{start.code}-{end.code}", direction, end, setup)


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The revision of the model in the local cache."""
    return hub.revision(variant or FAMILY.default)
