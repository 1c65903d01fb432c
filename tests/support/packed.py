"""What the tests of the importers share: packing in one call, and captions short enough to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capivara_cli.pipeline.env import Env, Tally
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._packing import PackOptions, samples


def pack(source: Path, **options: Any) -> tuple[list[Sample], Tally]:
    """Everything a source gives, and the books, which must balance."""
    env = Env(Settings(), "pack")
    found = list(samples(str(source), PackOptions(**options), env))
    assert env.tally.read == len(found) + env.tally.dropped.total()
    return found, env.tally


def said(sample: Sample) -> list[tuple[str, str]]:
    """(language, text) of the captions."""
    return [(caption.lang, caption.text) for caption in sample.captions]
