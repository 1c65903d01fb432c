"""A translation memory: the translations of all runs, in one SQLite file on this machine, keyed by translator and text.

It has a write-ahead log: several processes can use it at once, and a killed process loses its last batch at most. It
grows by about two hundred bytes per caption. It can be deleted at any time, which costs only time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from capivara_cli import console, plugin_errors
from capivara_cli.languages.detokenization import detokenised
from capivara_cli.storage import cache

_MAX_RECENT = 100_000
_FIRST_BATCH, _MIN_BATCH, _BATCH_SECONDS = 64, 1, 10.0
_QUERY_TEXTS = 500  # SQLite limits the values of a query; some builds allow only 999
_TABLES = """
CREATE TABLE IF NOT EXISTS translator (id INTEGER PRIMARY KEY, version TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS said (
    translator INTEGER NOT NULL, text BLOB NOT NULL, translation BLOB NOT NULL, PRIMARY KEY (translator, text)
) WITHOUT ROWID;
"""


class TranslationMemory:
    """Stores and looks up translations.

    ``version`` is everything that decides a translation (package, its checksum, beams). If the file cannot be used,
    a warning is printed once and no translation is found or stored.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache.folder() / "translations.sqlite"
        self._database: sqlite3.Connection | None = None
        self._ids: dict[str, int] = {}
        with self._disabled_on_error():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")  # with WAL: no sync per batch, and a kill damages nothing
            database.executescript(_TABLES)
            self._database = database

    def find(self, version: str, texts: Sequence[str]) -> dict[str, str]:
        """The stored translations: text -> translation, for those of ``texts`` that have one."""
        found: dict[str, str] = {}
        with self._disabled_on_error():
            if self._database is None:
                return {}
            translator = self._id(version)
            for chunk in _chunks(texts):
                marks = ",".join("?" * len(chunk))
                rows = self._database.execute(
                    f"SELECT text, translation FROM said WHERE translator = ? AND text IN ({marks})",
                    [translator, *map(_bytes, chunk)],
                )
                found |= {_text(text): _text(translation) for text, translation in rows}
        return found

    def store(self, version: str, translations: dict[str, str]) -> None:
        """Store translations: text -> translation. A text that another process stored first keeps its translation."""
        with self._disabled_on_error():
            if self._database is None or not translations:
                return
            translator = self._id(version)
            rows = [(translator, _bytes(text), _bytes(translation)) for text, translation in translations.items()]
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR IGNORE INTO said VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")

    def _id(self, version: str) -> int:
        if version not in self._ids:
            database = self._database
            if database is None:
                raise sqlite3.Error("closed")
            database.execute("INSERT OR IGNORE INTO translator (version) VALUES (?)", [version])
            row = database.execute("SELECT id FROM translator WHERE version = ?", [version]).fetchone()
            self._ids[version] = row[0]
        return self._ids[version]

    @contextlib.contextmanager
    def _disabled_on_error(self) -> Iterator[None]:
        """Turn an error inside into a warning, and do without the file from then on."""
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError, AttributeError) as error:  # the last: of other types
            if self._database is not None:
                self._database.close()
                self._database = None
            console.warn(f"{self.path}: cannot be used, translating without memory: {error}")


class Translator(Protocol):
    """A plugin of ``translators/`` once loaded: takes texts, returns as many translations, "" where it has none.

    ``by`` names the translator and its languages, and is stored with each translation. Two attributes are optional:
    ``version`` identifies everything that decides a translation and is the key of cached ones ("": do not cache), and
    ``guarded = False`` turns off the checks of translations.
    """

    by: str

    def __call__(self, texts: list[str]) -> list[str]: ...


class CachedTranslator:
    """Translates each distinct text once per run, and with a ``memory`` once in all runs.

    The translator gets texts in batches of about ten seconds, which are then stored: a killed run loses one batch. Two
    texts are the same if they are equal with collapsed white space; case counts, because translators preserve it.
    Translations lose the spaces of tokenised output (``detokenised``); ``target`` is the code of their language. The
    memory stores what the translator returned. ``asked`` is the name, variant and languages that were asked for: with
    its package they distinguish the translations of a plugin of another package, whose version may say less.
    """

    def __init__(self, translator: Translator, memory: TranslationMemory | None, target: str, asked: str = "") -> None:
        self.by = plugin_errors.attribute(translator, "by", str)
        self.guarded: bool = getattr(translator, "guarded", True)
        self._translator = translator
        self._target = target
        version = plugin_errors.attribute(translator, "version", str, "")
        origin = plugin_errors.Guarded.origin_of(translator)
        self._version = f"{origin} | {asked} | {version}" if version and origin is not None else version
        self._memory = memory if self._version else None
        self._recent: dict[str, str] = {}
        self._batch = _FIRST_BATCH if self._memory else _MAX_RECENT

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """One translation per text, in order. Raises ``PluginError`` for a wrong number of them, and for no texts."""
        flat = [" ".join(text.split()) for text in texts]
        new = list(dict.fromkeys(text for text in flat if text not in self._recent))
        if len(self._recent) > _MAX_RECENT:
            self._recent.clear()
            new = list(dict.fromkeys(flat))
        if new and self._memory:
            self._recent |= self._memory.find(self._version, new)
            new = [text for text in new if text not in self._recent]
        while new:
            batch, new = new[: self._batch], new[self._batch :]
            start = time.monotonic()
            translations = dict(
                zip(batch, plugin_errors.texts(self._translator, self._translator(batch), len(batch)), strict=True)
            )
            self._recent |= translations
            if self._memory:
                self._memory.store(self._version, translations)
                seconds = max(time.monotonic() - start, 1e-3)
                self._batch = max(_MIN_BATCH, int(len(batch) * _BATCH_SECONDS / seconds))
        return [detokenised(self._recent[text], text, self._target) for text in flat]


def _chunks(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (texts[start : start + _QUERY_TEXTS] for start in range(0, len(texts), _QUERY_TEXTS))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
