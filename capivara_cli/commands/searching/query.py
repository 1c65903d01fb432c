"""The queries of a search: read from a file, translated if the model needs it, and embedded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capivara_cli.commands.searching.exact import Floats
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.evaluation.queries import Queries, Translate, embed_texts
from capivara_cli.models.clip import Clip


@dataclass(frozen=True)
class Query:
    """A query as it was typed, and the ``text`` that the model embeds: its translation if ``translator`` is not "".

    ``lang``: the language of ``text``, "" if it is not known.
    """

    typed: str
    text: str
    translator: str = ""
    lang: str = ""


def read_queries(name: str) -> list[str]:
    """The lines of a file, or of standard input for "-", that are not empty. Raises ``CapivaraError`` for no line."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except FileNotFoundError as error:
        raise CapivaraError(f"--queries {name}: no such file") from error
    except UnicodeDecodeError as error:
        raise CapivaraError(f"--queries {name}: not UTF-8: byte {error.start}", "save it as UTF-8") from error
    if not any(lines):
        raise CapivaraError(f"--queries {name}: no query in this file", "write one query per line")
    return [line for line in lines if line]


def read_image(name: str) -> bytes:
    """The bytes of an image file. Raises ``CapivaraError`` if it cannot be decoded."""
    from capivara_cli.shards.images import decode_image

    try:
        data = Path(name).read_bytes()
        decode_image(data)
    except FileNotFoundError as error:
        raise CapivaraError(f"--image {name}: no such file") from error
    except BadSample as error:
        raise CapivaraError(f"--image {name}: {error.reason}") from error
    return data


def embed_queries(texts: Sequence[str], lang: str, clip: Clip, translate: Translate) -> tuple[list[Query], Floats]:
    """The queries, translated for a model that was trained on translated queries, and their embeddings [Q, dim].

    ``lang``: the language of the texts, "" when it is not known. Raises ``CapivaraError`` when such a model lacks the
    language, and when the translation of a query is empty.
    """
    if clip.translate_queries and not lang:
        raise CapivaraError(
            f"the model was trained on queries translated to {clip.translate_queries}: which language are yours in?",
            "name it with --lang, such as --lang pt",
        )
    found = Queries(translate).pivoted(Captions(list(texts), list(range(len(texts)))), lang, clip)
    if len(found.captions.texts) < len(texts):
        lost = next(each for place, each in enumerate(texts) if place not in set(found.captions.owners))
        raise CapivaraError(f"{lost!r}: its translation into {found.lang} is empty", "say it in other words")
    queries = [
        Query(typed, text, found.by, found.lang) for typed, text in zip(texts, found.captions.texts, strict=True)
    ]
    return queries, embed_texts(clip, found.captions.texts, found.lang, "search: queries")
