"""Any causal language model of transformers, shown example pairs as LaCLIP does: llm:ORG/NAME or llm:FOLDER."""

from __future__ import annotations

from pathlib import Path

from capivara_cli import pretrained
from capivara_cli.rewriters._incontext import InContextRewriter, open_folder, read_pairs

DEFAULT = "Qwen/Qwen2.5-1.5B"
SIZE = "about 3.1 GB"
WAYS = (
    "--rewriter llm:PATH takes a folder with a causal language model",
    "--rewriter toy takes the small one that is part of capivara (it knows drawn shapes only)",
)
EXEMPLARS = Path(__file__).with_name("exemplars.json")


def load(variant: str, *, device: str) -> InContextRewriter:
    """A base model does: it is not asked, it continues a list. Code that comes with a model is never run."""
    name = variant or DEFAULT
    folder = pretrained.folder(pretrained.Wanted(name, "the rewriter's weights", "" if variant else SIZE, WAYS))
    return open_folder(folder, read_pairs(EXEMPLARS), f"rewrite:{pretrained.label(name, folder)}", device)
