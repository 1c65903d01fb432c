"""Options that hold a list, parsed in one place: ``opt("", "…", kind=Languages())`` or ``kind=Names(("a", "b"))``.

An options dataclass keeps the text as typed, because histories and manifests record it; ``options.parsed`` gives the
tuple. Every list follows the same rules: commas separate, spaces around an item are allowed, an empty item is refused,
a repeated one counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from capivara_cli import languages
from capivara_cli.errors import CapivaraError, unknown


@dataclass(frozen=True)
class Names:
    """Names out of ``known``; any names where that is empty. ``noun`` is what the error calls one of them.

    ``all`` allows the word "all" for every known name, ``none`` the word "none" for no name.
    """

    known: tuple[str, ...] = ()
    noun: str = "name"
    all: bool = False
    none: bool = False

    def parse(self, text: str) -> tuple[str, ...]:
        """``"a, b"`` -> ("a", "b"), as typed. Raises ``CapivaraError`` for an unknown name, listing the known ones."""
        word = text.strip()
        if self.all and word == "all":
            return self.known
        if self.none and word == "none":
            return ()
        return _items(text, self._known)

    def _known(self, name: str) -> str:
        if not name:
            raise CapivaraError("a name is empty", f"there are {', '.join(self.known)}" if self.known else "")
        if self.known and name not in self.known:
            words = ("all",) * self.all + ("none",) * self.none
            raise unknown(self.noun, name, self.known, f"or {' or '.join(words)}" if words else "")
        return name


@dataclass(frozen=True)
class Languages:
    """Languages under any name that ``languages.get`` knows: ``pt``, ``por``, ``pt-BR``, ``Portuguese``.

    ``any`` is the word that sets no language, such as "all" or "auto"; "" where there is none. ``one`` refuses a list.
    ``unlisted`` takes a code that is not in the table as it is, such as ``kgp``.
    """

    any: str = ""
    one: bool = False
    unlisted: bool = False

    def parse(self, text: str) -> tuple[str, ...]:
        """``"por, Hindi"`` -> ("pt", "hi"), () for ``any``. Raises ``CapivaraError`` for an unknown language."""
        if self.any and text.strip() == self.any:
            return ()
        if self.one:
            return (self._code(text),)
        return _items(text, self._code)

    def _code(self, name: str) -> str:
        if not name.strip():
            raise CapivaraError("a language is empty", "give one such as pt" + f", or {self.any}" * bool(self.any))
        return languages.code_or_unlisted(name) if self.unlisted else languages.get(name).code


@dataclass(frozen=True)
class Ranks:
    """Whole numbers above 0, such as the ranks of ``eval --k 1,5,10``."""

    def parse(self, text: str) -> tuple[str, ...]:
        """``"1, 5"`` -> ("1", "5"). Raises ``CapivaraError`` for anything else."""
        return _items(text, self._rank)

    def _rank(self, item: str) -> str:
        if not item.isdecimal() or int(item) == 0:
            raise CapivaraError(f"{item!r} is not a whole number above 0", "such as 1,5,10")
        return str(int(item))


def _items(text: str, parse: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse(item.strip()) for item in text.split(",")))
