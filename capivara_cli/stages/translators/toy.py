"""The toy world's translators: en to pt, hi and xh, and pt to en; real Argos packages, for tests and teaching."""

from __future__ import annotations

from capivara_cli import toy
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import get
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._package import ArgosChain, unpack
from capivara_cli.stages.translators._route import languages_reached

MODELS = toy.MODELS / "translators"


def load(variant: str, *, source: str, target: str, setup: Setup) -> ArgosChain:
    """The toy package of a pair, read through the code that reads downloaded ones. ``variant`` is not used."""
    files = {tuple(file.stem.removeprefix("translate-").split("_")): file for file in MODELS.glob("*.argosmodel")}
    pair = (get(source).code, get(target).code)
    if pair not in files:
        known = {(start, end) for start, end in files}
        raise CapivaraError(
            f"toy: the toy world has no translator from {source} to {target}; "
            f"{languages_reached(known, get(source), [pair[0]])}",
            "for real languages use --translator argos or --translator apertium",
        )
    return ArgosChain("toy", {pair: unpack(files[pair])}, [pair], setup)
