"""Any causal language model of transformers, prompted with example pairs as in LaCLIP: llm:ORG/NAME or llm:FOLDER."""

from __future__ import annotations

from typing import TYPE_CHECKING

from capivara_cli.languages import Language
from capivara_cli.models import hub, transformers_models
from capivara_cli.models.generation import Setup
from capivara_cli.plugins import RewriterOptions
from capivara_cli.stages.rewriters._exemplars import exemplars

if TYPE_CHECKING:
    from capivara_cli.stages.rewriters._incontext import InContextRewriter

DEFAULT = "Qwen/Qwen2.5-1.5B"
SIZE = "about 3.1 GB"
HINTS = (
    "--rewriter llm:PATH takes a folder with a causal language model",
    "--rewriter openai:MODEL --base-url URL uses a service, --rewriter eda needs no model",
    "--rewriter toy takes the small one that is part of capivara (it knows drawn shapes only)",
)


def load(variant: str, *, language: Language, setup: Setup, options: RewriterOptions) -> InContextRewriter:
    """Load a causal model; a base model is enough, as it only continues a list. Code from the model is never run."""
    from capivara_cli.stages.rewriters._incontext import open_folder  # imports torch, which ``identity`` does not need

    name = variant or DEFAULT
    pairs = exemplars(options.exemplars, language)
    folder = transformers_models.folder(name, "the rewriter's weights", "" if variant else SIZE, HINTS)
    return open_folder(folder, pairs, f"rewrite:{transformers_models.label(name, folder)}", setup, options.shots)


def identity(variant: str) -> str | None:
    """The revision of the model in the local cache."""
    return hub.revision(variant or DEFAULT)
