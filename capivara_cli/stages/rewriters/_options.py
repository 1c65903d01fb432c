"""The options of ``capivara rewrite`` that rewriters read."""

from __future__ import annotations

from typing import Protocol

from capivara_cli.languages import Language


class RewriterOptions(Protocol):
    """The part of the stage's options that a rewriter may use; the flags have the same names, ``pivots`` is --via."""

    @property
    def exemplars(self) -> str: ...

    @property
    def shots(self) -> int: ...

    @property
    def synonyms(self) -> str: ...

    @property
    def translator(self) -> str: ...

    @property
    def cache(self) -> bool: ...

    @property
    def pivots(self) -> list[Language]: ...
