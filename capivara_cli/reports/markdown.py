"""Markdown as GitHub and the Hugging Face hub read it, from text that strangers wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence

from capivara_cli.console import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$#])")


def flat(text: object) -> str:
    """Text in one line, without control characters."""
    return printable(" ".join(str(text).split()))


def escaped(text: object) -> str:
    """Text that is shown as it is: no link, no HTML, no markup, one line.

    >>> escaped("a_b | <c>")
    'a\\\\_b \\\\| \\\\<c\\\\>'
    """
    return _SPECIAL.sub(r"\\\1", flat(text))


def code(text: object) -> str:
    """A code span, whatever backticks are in the text."""
    content = flat(text)
    fence = "`" * (max(map(len, re.findall("`+", content)), default=0) + 1)
    pad = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{pad}{content}{pad}{fence}"


def table(header: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table of cells that are Markdown already; ``right``: which columns are numbers."""
    rule = ["---:" if numeric else "---" for numeric in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])
