"""What is looked for: sentences in a language, or an image, and the vectors the model makes of them."""

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
class Asked:
    """What was given, and what the model was asked instead where it had to be translated (``by`` says by whom)."""

    query: str
    text: str
    by: str = ""

    @property
    def translated(self) -> bool:
        return bool(self.by)


def read_queries(name: str) -> list[str]:
    """The lines of a file, or of standard input for "-", that are not empty. ``CapivaraError`` when there are none."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except FileNotFoundError as error:
        raise CapivaraError(f"--queries {name}: no such file") from error
    except UnicodeDecodeError as error:
        raise CapivaraError(f"--queries {name}: not UTF-8: byte {error.start}", "save it as UTF-8") from error
    if not any(lines):
        raise CapivaraError(f"--queries {name}: no query in it", "one query per line")
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


def ask(queries: Sequence[str], lang: str, clip: Clip, translate: Translate) -> tuple[list[Asked], Floats]:
    """What each query was asked as, and the embeddings [Q, d].

    ``lang``: "" when it is not known. Raises ``CapivaraError`` when a model that was trained on translated queries is
    asked in a language that is not known, and for a query of which the translation leaves nothing.
    """
    if clip.translate_queries and not lang:
        raise CapivaraError(
            f"the model was trained on queries translated to {clip.translate_queries}: which language are yours in?",
            "say it with --lang, such as --lang pt",
        )
    found = Queries(translate).pivoted(Captions(list(queries), list(range(len(queries)))), lang, clip)
    if len(found.captions.texts) < len(queries):
        lost = next(each for place, each in enumerate(queries) if place not in set(found.captions.owners))
        raise CapivaraError(f"{lost!r}: nothing is left of it in translation to {found.lang}", "put it differently")
    asked = [Asked(query, text, found.by) for query, text in zip(queries, found.captions.texts, strict=True)]
    return asked, embed_texts(clip, found.captions.texts, found.lang, "search: queries")
