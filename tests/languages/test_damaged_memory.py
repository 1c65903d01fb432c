"""A translation memory whose rows or tables are of other types is not used: a warning, and the translator is asked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory


class Shouting:
    by = "shouting"
    version = "1"

    def __call__(self, texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]


DAMAGES = {
    "text for bytes": "UPDATE said SET translation = 'A CAT'",
    "a number": "UPDATE said SET translation = 7",
    "bytes that are no UTF-8": "UPDATE said SET translation = x'ff'",
    "no table": "DROP TABLE said",
    "another table": "ALTER TABLE said RENAME COLUMN translation TO other",
    "a text as number of a translator": "DROP TABLE translator; CREATE TABLE translator (id TEXT, version TEXT UNIQUE);"
    "INSERT INTO translator VALUES ('x', '1')",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_memory_gives_no_wrong_translation(damage: str, tmp_path: Path) -> None:
    place = tmp_path / "memory"
    assert CachedTranslator(Shouting(), TranslationMemory(place), "pt")(["a cat"]) == ["A CAT"]
    database = sqlite3.connect(place)
    database.executescript(DAMAGES[damage])
    database.close()
    for _ in range(2):
        again = CachedTranslator(Shouting(), TranslationMemory(place), "pt")
        assert again(["a cat", "a dog"]) == ["A CAT", "A DOG"]
