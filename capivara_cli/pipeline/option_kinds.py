"""Options that hold a list: ``opt("", "…", kind=Languages())`` or ``kind=Names(("a", "b"))``.

An options dataclass keeps the text as typed, because histories and manifests record it; ``options.parsed`` returns the
tuple. All lists follow the same rules. Commas separate items. Spaces around an item are ignored. An empty item is an
error. A repeated item counts once. A list may also be given in parts, ``--lang pt --lang hi``: ``separator`` is what
then joins the parts, "" for an option that holds one value.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from capivara_cli import languages
from capivara_cli.errors import CapivaraError, unknown


@dataclass(frozen=True)
class Names:
    """A list of names out of ``known``, or of any names if that is empty. Errors call a name ``noun``.

    ``all`` allows the word "all" for every known name, ``none`` the word "none" for no name.
    """

    known: tuple[str, ...] = ()
    noun: str = "name"
    all: bool = False
    none: bool = False
    separator: ClassVar[str] = ","

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
    """A list of languages, by any name that ``languages.get`` knows: ``pt``, ``por``, ``pt-BR``, ``Portuguese``.

    ``any`` is a word for no restriction, such as "all" or "auto"; "" allows no such word. ``one`` allows one language
    only. ``unlisted`` also accepts codes that are not in the table, such as ``kgp``. ``known``: the only codes that are
    accepted, () for all.
    """

    any: str = ""
    one: bool = False
    unlisted: bool = False
    known: tuple[str, ...] = ()

    @property
    def separator(self) -> str:
        return "" if self.one else ","

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
        code = languages.code_or_unlisted(name) if self.unlisted else languages.get(name).code
        if self.known and code not in self.known:
            raise CapivaraError(f"{name!r} is not one of {', '.join(self.known)}")
        return code


@dataclass(frozen=True)
class Ranks:
    """Whole numbers above 0, such as the ranks of ``eval --k 1,5,10``."""

    separator: ClassVar[str] = ","

    def parse(self, text: str) -> tuple[str, ...]:
        """``"1, 5"`` -> ("1", "5"). Raises ``CapivaraError`` for anything else."""
        return _items(text, self._rank)

    def _rank(self, item: str) -> str:
        if not item.isdecimal() or int(item) == 0:
            raise CapivaraError(f"{item!r} is not a whole number above 0", "such as 1,5,10")
        return str(int(item))


@dataclass(frozen=True)
class Words:
    """Words as in a shell, such as the settings of ``adapt --set 'train.peft=lit caption.beams=4'``."""

    separator: ClassVar[str] = " "

    def parse(self, text: str) -> tuple[str, ...]:
        """``"a=1 'b=2 3'"`` -> ("a=1", "b=2 3"). Raises ``CapivaraError`` for a quotation mark without another."""
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            raise CapivaraError(f"{text!r}: {error}") from error


def _items(text: str, parse: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse(item.strip()) for item in text.split(",")))
