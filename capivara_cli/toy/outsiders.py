"""Warns, once per command, when a toy model gets images or texts that are not of the toy world."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence

from capivara_cli import console
from capivara_cli.toy import lexicon

_PNG = b"\x89PNG\r\n\x1a\n"
_SIDE = (64).to_bytes(4, "big")
_FOREIGN = 0.2
"""The share of unknown words from which texts are foreign. "a dog on a beach" has 2 of 5, the toy world's own none."""


def warn_of_image(image: bytes, document: Mapping[str, object], model: str, instead: str) -> None:
    """Warn that ``model`` knows drawn scenes only, if an image is none; ``document`` is the JSON of its sample.

    ``instead``: what to use for other images.
    """
    if not _is_scene(image, document):
        console.warn_once(
            f"THIS IS A TOY: {model} knows only the drawn scenes of the toy world, and these are other images; what it "
            "says about them means nothing",
            instead,
        )


def warn_of_texts(texts: Sequence[str], lang: str, model: str, instead: str) -> None:
    """Warn that ``model`` knows the words of the toy world only, if texts in ``lang`` have many others."""
    if texts and _unknown_share(texts, lang) > _FOREIGN:
        console.warn_once(
            f"THIS IS A TOY: {model} knows only the words of the toy world, and these texts have others; what it makes "
            "of them means nothing",
            instead,
        )


def _is_scene(image: bytes, document: Mapping[str, object]) -> bool:
    """Whether an image is a drawn scene: its sample says so, or it is a PNG of the size of one."""
    return isinstance(document.get("scene"), str) or (image.startswith(_PNG) and image[16:24] == 2 * _SIDE)


def _unknown_share(texts: Iterable[str], lang: str) -> float:
    known = _vocabulary(lang)
    words = [word for text in texts for word in _words(text)]
    return sum(word not in known for word in words) / len(words) if known and words else 0.0


@functools.cache
def _vocabulary(lang: str) -> frozenset[str]:
    """The words of the toy world in English or Portuguese, from which it translates; empty for other languages."""
    if lang not in ("en", "pt"):
        return frozenset()
    tables = [value for name, value in vars(lexicon).items() if name.startswith(f"{lang.upper()}_")]
    tables += [each[lang] for each in (lexicon.PLACES, lexicon.RELATIONS, lexicon.TEMPLATES, lexicon.FRAMES)]
    if lang == "en":
        tables += [lexicon.VAGUE, list(lexicon.PT_COLORS), ["two", "three", "is", "are"]]
    return frozenset(word for text in _texts(tables) for word in _words(text))


def _texts(table: object) -> Iterable[str]:
    if isinstance(table, str):
        yield table
    elif isinstance(table, Mapping):
        yield from _texts(list(table.values()))
    elif isinstance(table, (list, tuple)):
        for each in table:
            yield from _texts(each)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+|\d+", text.lower())
