"""The toy world's BLIP-2: a million parameters, knows drawn shapes only, for tests and teaching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capivara_cli import toy
from capivara_cli.errors import CapivaraError
from capivara_cli.models.generation import Setup

if TYPE_CHECKING:
    from capivara_cli.stages.captioners._blip2 import Blip2Captioner

MODEL = toy.MODELS / "captioner"


def load(variant: str, *, setup: Setup) -> Blip2Captioner:
    """The captioner that is part of capivara, through the code that runs the real one. ``variant`` is not used."""
    from capivara_cli.stages.captioners._blip2 import open_folder  # imports torch: only to load it

    if not (MODEL / "config.json").is_file():
        raise CapivaraError(f"{MODEL}: the toy captioner is missing", "rebuild it: python -m tools.build_toy")
    return open_folder(MODEL, "toy-captioner", setup)
