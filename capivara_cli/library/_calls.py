"""What a call of the library changes in the process while it runs, and errors in the words of Python."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from typing import TypeVar

from capivara_cli import console
from capivara_cli.costs.flops import COUNTED
from capivara_cli.errors import CapivaraError

Item = TypeVar("Item")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*(?![\w-])")
_COMMAND_LINE = re.compile(r"\bcapivara [a-z]+ ")


class _Calls:
    """The calls that run in this process, in any thread. The last one leaves the process as the first one found it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = self._quiet = 0
        self._silence = contextlib.ExitStack()

    def begin(self, quiet: bool) -> None:
        with self._lock:
            self._running += 1
            self._quiet += quiet
            if quiet and self._quiet == 1:
                self._silence.enter_context(console.quiet())

    def end(self, quiet: bool) -> None:
        with self._lock:
            self._running -= 1
            self._quiet -= quiet
            if not self._quiet:
                self._silence.close()
            if not self._running:
                COUNTED.unwatch()


_CALLS = _Calls()
"""The only instance: messages and PyTorch's hooks belong to the whole process."""


@contextlib.contextmanager
def call(progress: bool = False, keywords: Mapping[str, str] | None = None) -> Iterator[None]:
    """A call of the library: quiet unless ``progress``, with errors in the words of Python.

    ``keywords``: the keyword for each flag of the command line. Raises what the block raises.
    """
    _CALLS.begin(not progress)
    try:
        yield
    except CapivaraError as error:
        error.message, error.hint = in_keywords(error.message, keywords), in_keywords(error.hint, keywords)
        error.args = (error.message,)
        raise
    finally:
        _CALLS.end(not progress)


def in_calls(items: Iterator[Item], progress: bool, keywords: Mapping[str, str]) -> Iterator[Item]:
    """Yield the items; each one is made in a ``call`` of its own, so the caller's code between them is in none."""
    try:
        while True:
            with call(progress, keywords):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    finally:
        if isinstance(items, Iterator) and hasattr(items, "close"):
            with call(progress, keywords):
                items.close()


def in_keywords(text: str, keywords: Mapping[str, str] | None) -> str:
    """A message or hint with keywords in place of flags. A text that shows a command line stays as it is.

    >>> in_keywords("--batch-size 0: must be at least 1", {"--batch-size": "batch_size"})
    'batch_size 0: must be at least 1'
    """
    if not keywords or _COMMAND_LINE.search(text):
        return text
    return _FLAG.sub(lambda found: keywords.get(found[0], found[0]), text)
