"""An eval set, and the interface of the plugins in ``sets/``.

A plugin has two functions. ``languages(variant)`` returns the languages (BCP-47 codes) of its captions or class names.
``load(variant, *, lang, data, split, env) -> EvalSet`` loads one of them; ``data`` is the folder of ``--data``, or "".
All languages of a set have the same images in the same order, because images are embedded once. ``load`` raises an
error for missing data when it is called, not when samples are read, so that no model is loaded in vain.
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
    """The origin of a set, which a result needs to be interpreted; "" for what is unknown."""

    source: str = ""
    licence: str = ""
    split: str = ""
    machine_translated: bool = False
    by: str = ""  # who wrote the captions: "human", "grammar", or the translator
    obtained: str = ""  # "downloaded from …", "local copy in …"
    checksums: dict[str, str] = field(default_factory=dict)  # of the annotation files: name -> "sha256:…"
    captions_by: dict[str, int] | None = field(default=None, metadata={OPTIONAL: True})
    """Number of captions by author, in a row of retrieval."""


@dataclass(frozen=True)
class EvalSet:
    """Images with captions in one language, and class names if the images have classes.

    ``samples``: captions in ``lang``, and the class index in the member ``cls`` or, if an image can have several
    classes or none, the indexes in ``json["classes"]``. ``classes``: class names in ``lang``. ``class_ids``: the class
    index of each name, if a language has names for only some classes; () means 0 to C - 1. ``metric``: the one that the
    literature uses for the set. ``unnamed``: the number of further classes that a published list lacks. ``junk``: the
    keys of images whose caption in this language does not describe them, such as "Could not translate".
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

    ``ids``: the class index of each name, () for 0 to C - 1. ``names_by`` and ``templates_by``: their author or
    translator. ``unnamed``: as in ``EvalSet``.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...]
    ids: tuple[int, ...] = ()
    names_by: str = ""
    templates_by: str = ""
    machine_translated: bool = False
    unnamed: int = 0


def check_names(names: Sequence[str], source: str) -> None:
    """Raise ``CapivaraError`` unless there are at least two class names, all non-empty and distinct.

    Published lists repeat names by mistake, and no model can distinguish two classes with the same name.
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
