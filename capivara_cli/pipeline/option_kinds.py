"""Options that hold a list: ``opt("", "…", kind=Languages())`` or ``kind=Names(("a", "b"))``.

An options dataclass keeps the text as typed, because histories and manifests record it; ``options.parsed`` returns the
tuple. All lists follow the same rules. Commas separate items. Spaces around an item are ignored. An empty item is an
error. A repeated item counts once. A list may also be given in parts, ``--lang pt --lang hi``: ``separator`` is what
then joins the parts, "" for an option that holds one value.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from capivara_cli import languages
from capivara_cli.errors import CapivaraError, unknown

_SEPARATORS = re.compile(r"[\s,;|/]+")
"""What people write between the items of a list; only the comma is right."""


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
            return (self._only(text),)
        return _items(text, self._code)

    def _only(self, name: str) -> str:
        """The code of the one language. Raises ``CapivaraError`` that says so if there are several."""
        try:
            return self._code(name)
        except CapivaraError as error:
            clearer = error
            with contextlib.suppress(CapivaraError):
                if len([self._code(part) for part in _SEPARATORS.split(name.strip())]) > 1:
                    clearer = CapivaraError(f"{name!r}: one language only", "run the command once for each")
            raise clearer from None

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


_GPU = "cuda"
_DEVICES = ("auto", "cpu", _GPU, "mps", "xpu", "hpu", "npu", "xla", "mtia", "vulkan", "meta")
_OTHER_DEVICE_NAMES = {
    "gpu": _GPU, "nvidia": _GPU, "rocm": _GPU, "hip": _GPU, "amd": _GPU, "metal": "mps", "apple": "mps", "mac": "mps",
    "intel": "xpu", "tpu": "xla", "any": "auto", "default": "auto",
}  # fmt: skip


@dataclass(frozen=True)
class Devices:
    """A device as torch names it, or "auto". Whether the machine has it is found out when it is used."""

    separator: ClassVar[str] = ""

    def parse(self, text: str) -> tuple[str, ...]:
        """``"cuda:1"`` -> ("cuda:1",). Raises ``CapivaraError`` for another name, with the name that torch uses."""
        name, colon, index = text.partition(":")
        if name in _DEVICES and (not colon or index.isdecimal()):
            return (text,)
        word = name.strip().rstrip("0123456789- ").lower()
        right = _OTHER_DEVICE_NAMES.get(word, word)
        if right not in _DEVICES:
            raise unknown("device", text, ("auto", "cpu", "cuda", "cuda:1", "mps"))
        number = index.strip() or text.strip()[len(word) :].strip(" -:")
        right += f":{number}" * number.isdecimal() * (right not in ("auto", "cpu"))
        raise CapivaraError(f"there is no device {text!r}", f"write it as torch does: --device {right}")


def _items(text: str, parse: Callable[[str], str]) -> tuple[str, ...]:
    """The items between commas. Raises ``CapivaraError`` that asks for commas if there are other separators."""
    try:
        return tuple(dict.fromkeys(parse(item.strip()) for item in text.split(",")))
    except CapivaraError as error:
        clearer = error
        parts = _SEPARATORS.split(text.strip())
        with contextlib.suppress(CapivaraError):
            if len(parts) > len(text.split(",")):
                right = ",".join(map(parse, parts))
                clearer = CapivaraError(f"{text!r}: a list has commas between its items", f"write it so: {right}")
        raise clearer from None
