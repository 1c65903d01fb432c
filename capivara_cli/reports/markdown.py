"""Markdown for GitHub and the Hugging Face hub, made of text that may hold markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

from capivara_cli.console import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$#])")


def flat(text: object) -> str:
    """The text in one line, without control characters."""
    return printable(" ".join(str(text).split()))


def escaped(text: object) -> str:
    """The text escaped, so that it is shown as it is, in one line: no link, no HTML, no markup.

    >>> escaped("a_b | <c>")
    'a\\\\_b \\\\| \\\\<c\\\\>'
    """
    return _SPECIAL.sub(r"\\\1", flat(text))


def code(text: object) -> str:
    """A code span; the text may hold backticks."""
    content = flat(text)
    fence = "`" * (max(map(len, re.findall("`+", content)), default=0) + 1)
    pad = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{pad}{content}{pad}{fence}"


def table(header: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table of cells that are Markdown already; ``right`` says which columns are aligned right."""
    rule = ["---:" if numeric else "---" for numeric in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])
