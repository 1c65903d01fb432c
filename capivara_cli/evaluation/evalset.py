"""What an eval set is: the contract of the plugins in ``evalsets/``.

A plugin names the languages it has captions in (``LANGUAGES``, tuple of BCP-47 codes) and loads one of them at a
time: ``load(variant, *, lang, data, split, env) -> EvalSet``. ``data`` is the folder given with ``--data``, or "".
Every language of a set must give the same images in the same order: their embeddings are computed once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from capivara_cli.sample import Sample


@dataclass(frozen=True)
class Provenance:
    """Where a set comes from: what a result must say for it to mean anything."""

    source: str
    licence: str
    split: str
    machine_translated: bool = False
    by: str = ""  # who wrote the captions: "human", "grammar", or the translator


@dataclass(frozen=True)
class EvalSet:
    """Images with captions in one language, and class names where the images have classes.

    ``samples`` carry captions in ``lang``, and in a ``cls`` member the index of their class in ``classes``.
    """

    name: str
    lang: str
    samples: Iterable[Sample]
    provenance: Provenance
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
