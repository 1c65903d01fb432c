"""BLIP-2 through transformers; by default the paper's Salesforce/blip2-opt-2.7b-coco (15 GB)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capivara_cli.models import hub, transformers_models
from capivara_cli.models.generation import Setup
from capivara_cli.stages.captioners._prompts import HINTS

if TYPE_CHECKING:
    from capivara_cli.stages.captioners._blip2 import Blip2Captioner

DEFAULT = "Salesforce/blip2-opt-2.7b-coco"
SIZE = "about 15 GB to download; 7.5 GB of memory on a GPU in float16, 15 GB on a CPU"


def load(variant: str, *, setup: Setup) -> Blip2Captioner:
    """``blip2`` or ``blip2:ORG/NAME`` or ``blip2:FOLDER``; float16 on CUDA, float32 elsewhere."""
    from capivara_cli.stages.captioners._blip2 import open_folder  # imports torch, which ``identity`` does not need

    name = variant or DEFAULT
    folder = transformers_models.folder(name, "the captioner's weights", SIZE if name == DEFAULT else "", HINTS)
    return open_folder(folder, transformers_models.label(name, folder), setup)


def identity(variant: str) -> str | None:
    """The revision of the model in the local cache."""
    return hub.revision(variant or DEFAULT)
