"""Helpers of the sets of labelled images: the images of a split, and the comparison of lists of class names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import regex

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import folding
from capivara_cli.shards.sample import Sample

SPLITS = ("test", "train", "val")


@dataclass(frozen=True)
class Images:
    """The samples of one split, and their origin, which results record."""

    samples: Iterable[Sample]
    obtained: str
    checksums: dict[str, str] = field(default_factory=dict)


def folded(name: str) -> str:
    """A class name in the form that is compared: ``Off-center_face`` and ``off center face`` are equal."""
    return regex.sub(r"[^\p{L}\p{M}\p{N}]+", " ", folding.folded(name)).strip()


def lines_of(path: Path) -> list[str]:
    """The stripped lines of a small text file; [] if there is no such file. Only a newline ends a line.

    Raises ``CapivaraError`` if the file cannot be read as UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []


def class_mapping(official: Sequence[str], listed: Sequence[str], source: str) -> list[int] | None:
    """The class number in ``official`` of each class in ``listed``; None if the numbers agree.

    Both lists name the classes of one set; ``listed`` was read from the file ``source``. Raises ``CapivaraError`` if
    the classes cannot be matched: the lists differ in length, or some names differ and a common name has two numbers.
    """
    own, other = [folded(name) for name in official], [folded(name) for name in listed]
    if own == other or not other:
        return None
    if len(own) != len(other):
        raise CapivaraError(f"{source}: {len(other)} class names, and the set has {len(own)} classes")
    if sorted(own) == sorted(other) and len(set(own)) == len(own):
        return [own.index(name) for name in other]
    for number, name in enumerate(other):
        if name in own and own.index(name) != number and other.count(name) == own.count(name) == 1:
            raise CapivaraError(
                f"{source}: {listed[number]!r} is class {number} there and class {own.index(name)} of this set",
                "the classes are in another order, and not all names agree: use a copy with folders named by class",
            )
    return None


def with_language(variant: str) -> tuple[str, str]:
    """``photos@pt-BR`` -> ("photos", "pt"): a path, and the language of its names or captions, "en" without one."""
    path, at, lang = variant.rpartition("@")
    code = languages.code_of(lang)
    return (path, code) if at and languages.knows(code) else (variant, "en")
