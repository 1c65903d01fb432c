"""An eval set, and the contract of the plugins in ``sets/``.

A plugin has two functions. ``languages(variant)`` returns the languages (BCP-47 codes) of its captions or class names.
``load(variant, *, lang, data, split, env) -> EvalSet`` loads one of them; ``data`` is the folder given with
``--data``, or "". All languages of a set have the same images in the same order, because images are embedded once.
``load`` raises at once if data is missing, so that no model is loaded in vain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.sample import Sample
from capivara_cli.storage.typed_json import OPTIONAL

Metric = Literal["accuracy", "mean-per-class", "map-11-point", "roc-auc"]


@dataclass(frozen=True)
class Provenance:
    """Where a set comes from, which a result needs to be understood; "" where it is not known."""

    source: str = ""
    licence: str = ""
    split: str = ""
    machine_translated: bool = False
    by: str = ""  # who wrote the captions: "human", "grammar", or the translator
    obtained: str = ""  # "downloaded from …", "local copy in …"
    checksums: dict[str, str] = field(default_factory=dict)  # of the annotation files: name -> "sha256:…"
    captions_by: dict[str, int] | None = field(default=None, metadata={OPTIONAL: True})
    """Captions by their author, in a row of retrieval."""


@dataclass(frozen=True)
class EvalSet:
    """Images with captions in one language, and class names where the images have classes.

    ``samples`` have captions in ``lang``, and the index of their class in the member ``cls``, or, if an image can have
    several classes or none, the indices in ``json["classes"]``. ``classes`` are the names in ``lang``. ``class_ids``
    holds the class index of each name if a language has names for some classes only; () means 0 to C - 1. ``metric``
    is the one the literature uses for the set. ``unnamed`` counts further classes that a published list forgot.
    ``junk`` holds the keys of images whose caption in this language is not a caption.
    """

    name: str
    lang: str
    samples: Iterable[Sample]
    provenance: Provenance
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    class_ids: tuple[int, ...] = ()
    metric: Metric = "accuracy"
    names_by: str = ""
    unnamed: int = 0
    junk: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Classes:
    """Class names in one language, and the templates that turn them into prompts.

    ``ids`` holds the class index of each name, () for 0 to C - 1. ``names_by`` and ``templates_by`` say who wrote or
    translated them. ``unnamed`` is as in ``EvalSet``.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    ids: tuple[int, ...] = ()
    names_by: str = ""
    templates_by: str = ""
    machine_translated: bool = False
    unnamed: int = 0


def check_names(names: Sequence[str], source: str) -> None:
    """Raise ``CapivaraError`` unless there are at least two class names, none empty and no two the same.

    No model can tell two classes of the same name apart, and published lists have such mistakes.
    """
    if len(names) < 2:
        raise CapivaraError(f"{source}: {len(names)} class names; at least two are needed")
    for index, name in enumerate(names):
        if not name.strip():
            raise CapivaraError(f"{source}: class {index} has an empty name")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        where = ", ".join(str(index) for index, name in enumerate(names) if name == doubled[0])
        more = f"; {len(doubled) - 1} more names repeat" if len(doubled) > 1 else ""
        raise CapivaraError(
            f"{source}: class name {doubled[0]!r} stands for classes {where}{more}",
            "give each class a different name",
        )


def check_templates(templates: Sequence[str], source: str) -> None:
    """Raise ``CapivaraError`` unless there is a template and each has a place for the class name."""
    if not templates:
        raise CapivaraError(f"{source}: no templates")
    for template in templates:
        if "{}" not in template and "{c}" not in template:
            raise CapivaraError(f"{source}: template {template!r} has no {{}} or {{c}} for the class name")
