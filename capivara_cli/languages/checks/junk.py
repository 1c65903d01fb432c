"""Text that translators learned from subtitles, web pages and stock-photo sites, and remains of markup."""

from __future__ import annotations

import re
from dataclasses import dataclass

from capivara_cli.languages.checks.pair import Pair


@dataclass(frozen=True)
class _Junk:
    """Text that no translation has unless its text has it, or has ``excuse``. ``keys`` are parts of it, for speed."""

    keys: tuple[str, ...]
    junk: str
    excuse: str = ""

    def is_in(self, lowered: str, text: str) -> bool:
        if not any(key in lowered for key in self.keys) or not re.search(self.junk, lowered):
            return False
        return not re.search(self.excuse or self.junk, text, re.IGNORECASE)


_JUNK = (
    _Junk(("<unk>", "⁇", "▁", "@@", "♪", "amara.org"), r"<unk>|⁇|▁|@@|♪|amara\.org"),
    _Junk(("&",), r"&(?:\w+|#x?\w+);"),
    _Junk(("http", "www."), r"https?://|\bwww\."),
    _Junk(
        ("leg", "trad", "sub", "titel", "titoli", "sous"),
        r"^(?:legendas?|tradução|subt[ií]tulos?|sous-titres?|untertitel|subtitles?|sottotitoli)\b"
        r".*\b(?:por|by|von|par|di)\b",
        r"tradu|transl|legend|caption|subt|sous-tit|untertit|sottotit",
    ),
    _Junk(
        ("resolu",),
        r"\b(?:imagem|imagen|imaxe|foto|fotografia) (?:em|en) alta resolu",
        r"resol|\bhd\b|\bhi-?res|\b4k\b",
    ),
    _Junk(
        ("stock", "archivo", "arquivo"),
        r"\b(?:imagem|imagen|imaxe|foto|fotografia) de (?:stock|archivo|arquivo)",
        r"stock|archiv|arquiv|\bfile\b",
    ),
    _Junk(
        ("direitos", "derechos", "droits"),
        r"\blivres? de direitos|\blibres? de (?:derechos|droits)",
        r"free\b|libre|livre",
    ),
    _Junk(("tra",), r"^(?:translate|translation|tradução|traducción)\s*:"),
)
_MARKUP = re.compile(r"[<>{}\[\]|*#~^\\]")
_OPENING = re.compile(r"[(\[{<（［【〔]")


def is_junk(pair: Pair) -> bool:
    """Whether a translation has known junk, or signs of markup or brackets, that its text gives no reason for."""
    lowered = pair.translation.lower()
    if any(each.is_in(lowered, pair.text) for each in _JUNK):
        return True
    if _MARKUP.search(pair.translation) and not _MARKUP.search(pair.text):
        return True
    return "(" in pair.translation and not _OPENING.search(pair.text)
