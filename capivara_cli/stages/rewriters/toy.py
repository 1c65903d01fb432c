"""The toy world's language model: rewrites sentences about drawn shapes, for tests and teaching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capivara_cli import toy
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.models.generation import Setup
from capivara_cli.plugins import RewriterOptions
from capivara_cli.stages.rewriters._exemplars import Exemplars, read_pairs

if TYPE_CHECKING:
    from capivara_cli.stages.rewriters._incontext import InContextRewriter

MODEL = toy.MODELS / "rewriter"


def load(variant: str, *, language: Language, setup: Setup, options: RewriterOptions) -> InContextRewriter:
    """Load the toy rewriter with the code that loads large ones. Neither ``variant`` nor ``language`` is used."""
    from capivara_cli.stages.rewriters._incontext import open_folder  # imports torch: only to load it

    if not (MODEL / "config.json").is_file():
        raise CapivaraError(f"{MODEL}: the toy rewriter is missing", "rebuild it: python -m tools.build_toy")
    pairs = Exemplars([read_pairs(MODEL / "examples.json")])
    return open_folder(MODEL, pairs, "rewrite:toy", setup, options.shots)
