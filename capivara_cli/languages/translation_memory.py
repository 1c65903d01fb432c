"""Translations that were made before, on any run: one file on this machine, keyed by translator and text.

SQLite with a write-ahead log: several processes may use it at once, and a kill costs the last batch at most. It grows
by about two hundred bytes a caption and is never needed: deleting it costs time only.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.storage import cache

_MOST_RECENT = 100_000
_FIRST, _FEWEST, _SECONDS = 1024, 64, 10.0
_AT_ONCE = 500  # SQLite takes so many values in one question
_TABLES = """
CREATE TABLE IF NOT EXISTS translator (id INTEGER PRIMARY KEY, version TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS said (
    translator INTEGER NOT NULL, text BLOB NOT NULL, translation BLOB NOT NULL, PRIMARY KEY (translator, text)
) WITHOUT ROWID;
"""


class TranslationMemory:
    """``recall`` what a translator made of some texts before, ``keep`` what it makes now.

    ``version`` is everything that decides a translation (package, its checksum, beams). A file that cannot be used is
    said once and done without.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache.folder() / "translations.sqlite"
        self._base: sqlite3.Connection | None = None
        self._ids: dict[str, int] = {}
        with self._trouble_is_said():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            base = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("PRAGMA synchronous=NORMAL")  # with WAL: nothing is synced per batch, nothing is damaged
            base.executescript(_TABLES)
            self._base = base

    def recall(self, version: str, texts: Sequence[str]) -> dict[str, str]:
        """Those of ``texts`` that are known, with their translations."""
        found: dict[str, str] = {}
        with self._trouble_is_said():
            if self._base is None:
                return {}
            translator = self._id(version)
            for some in _chunks(texts):
                marks = ",".join("?" * len(some))
                rows = self._base.execute(
                    f"SELECT text, translation FROM said WHERE translator = ? AND text IN ({marks})",
                    [translator, *map(_bytes, some)],
                )
                found |= {_text(text): _text(translation) for text, translation in rows}
        return found

    def keep(self, version: str, made: dict[str, str]) -> None:
        """Add translations; those that another process was faster with stay as they are."""
        with self._trouble_is_said():
            if self._base is None or not made:
                return
            translator = self._id(version)
            rows = [(translator, _bytes(text), _bytes(translation)) for text, translation in made.items()]
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("INSERT OR IGNORE INTO said VALUES (?, ?, ?)", rows)
            self._base.execute("COMMIT")

    def _id(self, version: str) -> int:
        if version not in self._ids:
            base = self._base
            if base is None:
                raise sqlite3.Error("closed")
            base.execute("INSERT OR IGNORE INTO translator (version) VALUES (?)", [version])
            self._ids[version] = base.execute("SELECT id FROM translator WHERE version = ?", [version]).fetchone()[0]
        return self._ids[version]

    @contextlib.contextmanager
    def _trouble_is_said(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if self._base is not None:
                self._base.close()
                self._base = None
            console.warn(f"{self.path}: cannot be used, translating without memory: {error}")


class Remembering:
    """A translator that is asked each distinct text once, over a run and, with a memory, over all runs.

    Texts go to the translator by as many as take some seconds, and are remembered then: a kill costs no more. They are
    compared with their white space collapsed, as they are given to the translator; case is left alone, as translators
    keep it.
    """

    def __init__(self, translator: Any, memory: TranslationMemory | None) -> None:
        self.by: str = translator.by
        self.guarded: bool = getattr(translator, "guarded", True)
        self._translator = translator
        self._version: str = getattr(translator, "version", "")
        self._memory = memory if self._version else None
        self._recent: dict[str, str] = {}
        self._at_once = _FIRST if self._memory else _MOST_RECENT

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """One translation per text, in order."""
        flat = [" ".join(text.split()) for text in texts]
        new = list(dict.fromkeys(text for text in flat if text not in self._recent))
        if len(self._recent) > _MOST_RECENT:
            self._recent.clear()
            new = list(dict.fromkeys(flat))
        if new and self._memory:
            self._recent |= self._memory.recall(self._version, new)
            new = [text for text in new if text not in self._recent]
        while new:
            some, new = new[: self._at_once], new[self._at_once :]
            start = time.monotonic()
            made = dict(zip(some, self._translator(some), strict=True))
            self._recent |= made
            if self._memory:
                self._memory.keep(self._version, made)
                self._at_once = max(_FEWEST, int(len(some) * _SECONDS / max(time.monotonic() - start, 1e-3)))
        return [self._recent[text] for text in flat]


def _chunks(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
