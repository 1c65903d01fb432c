"""The samples that ``train --val`` names: shards, or an eval set. This file must not import torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from capivara_cli import registry
from capivara_cli.evaluation import catalogue
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.source import Source
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.history import History
from capivara_cli.shards.sample import Sample


@dataclass(frozen=True)
class EvalSource:
    """The samples of an eval set as a ``Source`` without files, like standard input."""

    samples: Iterable[Sample]
    shards: tuple[str, ...] = ("-",)
    history: History = ()  # type: ignore[assignment]

    def total(self) -> None:
        """The number of samples is not known."""

    def __iter__(self) -> Stream:
        return iter(self.samples)


def validation_source(name: str, lang: str, env: Env) -> Source | EvalSource:
    """The samples of shards, or of one language of an eval set. Raises ``CapivaraError`` if they are missing."""
    if name.partition(":")[0] in registry.names("evalsets") and not Path(name).exists():
        return EvalSource(catalogue.load(name, lang=lang, data="", split="val", env=env).samples)
    return Source([name], env)
