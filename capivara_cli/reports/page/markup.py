"""The elements of the page. Every text passes ``escaped``; what is named ``html`` has passed it."""

from __future__ import annotations

import base64
import html
import io
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from capivara_cli import languages

__all__ = ["Section", "Table", "code", "escaped", "missing", "picture", "points", "score", "signed"]

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Section:
    """One part of the page: ``name`` is its anchor, ``intro`` says what one looks at, ``html`` is its body."""

    name: str
    title: str
    intro: str
    html: str

    def to_html(self) -> str:
        intro = f'<p class="intro">{escaped(self.intro)}</p>' if self.intro else ""
        return f'<section id="{self.name}"><h2>{escaped(self.title)}</h2>{intro}\n{self.html}</section>\n'


@dataclass
class Table:
    """A table that scrolls sideways where it is too wide. ``columns`` ending in "|" hold text, the others numbers."""

    columns: Sequence[str]
    groups: Sequence[tuple[str, int]] = ()
    kind: str = ""
    rows: str = ""

    def add(self, cells: Iterable[str], kind: str = "") -> None:
        """A row of cells that are html already."""
        texts = [each.endswith("|") for each in self.columns]
        made = "".join(f"<td{'' if text else _NUMBER}>{cell}</td>" for text, cell in zip(texts, cells, strict=True))
        self.rows += f'<tr class="{kind}">{made}</tr>' if kind else f"<tr>{made}</tr>"

    def to_html(self) -> str:
        over = "".join(f'<th colspan="{span}">{escaped(title)}</th>' for title, span in self.groups)
        head = "".join(
            f"<th{'' if name.endswith('|') else _NUMBER}>{escaped(name.removesuffix('|'))}</th>"
            for name in self.columns
        )
        over = f'<tr class="over">{over}</tr>' if over else ""
        return (
            f'<div class="scroll" tabindex="0"><table class="{self.kind}"><thead>{over}<tr>{head}</tr></thead>'
            f"<tbody>{self.rows}</tbody></table></div>\n"
        )


_NUMBER = ' class="n"'


def escaped(text: str) -> str:
    """Escaped; control characters and lone surrogates, which HTML and UTF-8 cannot hold, as U+FFFD."""
    allowed = (char if unicodedata.category(char) not in ("Cc", "Cs") or char in "\n\t" else "\ufffd" for char in text)
    return html.escape("".join(allowed))


def missing(what: str, command: str = "") -> str:
    """What is not there, and the command that makes it."""
    return f'<div class="missing"><p>{escaped(what)}</p>{code(command) if command else ""}</div>\n'


def code(*lines: str) -> str:
    return f'<pre tabindex="0"><code>{escaped(chr(10).join(lines))}</code></pre>'


def folded(title: str, html: str, *, opened: bool = False) -> str:
    """Behind a line that opens it; on paper it is open."""
    return f"<details{' open' if opened else ''}><summary>{title}</summary>{html}</details>\n"


def folds(parts: Iterable[str]) -> str:
    """Several that are folded, beside each other while they are closed."""
    return f'<div class="folds">{"".join(parts)}</div>\n'


def score(value: float | None) -> str:
    """A percentage with one decimal."""
    return "—" if value is None else f"{value:.1f}".replace("-", MINUS)


def signed(value: float, digits: int = 1) -> str:
    text = f"{value:+.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text[1:]


def points(value: float, note: str = "") -> str:
    """A difference in points, coloured by its sign."""
    kind = "up" if round(value, 1) > 0 else "down" if round(value, 1) < 0 else "same"
    return f'<span class="{kind}">{signed(value)}</span>{escaped(note)}'


def significant(value: float, digits: int) -> str:
    """At least so many significant digits, never an exponent: 0.0073, 12, 1,234."""
    if not value:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def probability(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def language(code_: str) -> str:
    """``pt`` -> "Portuguese"; a code nobody knows as it is."""
    return languages.get(code_).name if languages.knows(code_) else code_


def picture(image: Any, longest: int, alt: str = "", kind: str = "") -> str:
    """An ``img`` element that holds a JPEG of a decoded RGB image, its longer side at most ``longest`` pixels."""
    small = image.copy()
    small.thumbnail((longest, longest))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    data = base64.b64encode(out.getvalue()).decode()
    width, height = small.size
    named = f' class="{kind}"' if kind else ""
    return f'<img{named} src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escaped(alt)}">'
