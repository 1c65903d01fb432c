"""Markdown for GitHub and the Hugging Face hub, from texts that may contain markup themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from capivara_cli.console import printable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$#])")


def flat(text: object) -> str:
    """Return the text in one line, without control characters."""
    return printable(" ".join(str(text).split()))


def escaped(text: object) -> str:
    """Return the text in one line, escaped: it is shown as it is, without links, HTML or markup.

    >>> escaped("a_b | <c>")
    'a\\\\_b \\\\| \\\\<c\\\\>'
    """
    return _SPECIAL.sub(r"\\\1", flat(text))


def code(text: object) -> str:
    """Return the text as a code span; the text may contain backticks."""
    content = flat(text)
    fence = "`" * (max(map(len, re.findall("`+", content)), default=0) + 1)
    pad = " " if content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{pad}{content}{pad}{fence}"


def bullet_list(lines: Iterable[object]) -> str:
    """Return a list with an item for each text, escaped."""
    return "\n".join(f"- {escaped(line)}" for line in lines)


def table(header: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    """Return a GitHub table. Cells are Markdown already; ``right`` marks the columns that are aligned right."""
    rule = ["---:" if numeric else "---" for numeric in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])
