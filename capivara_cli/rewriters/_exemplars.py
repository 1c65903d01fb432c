"""Pairs of captions that say the same in two ways: what a language model is shown before it is asked."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language

Pairs = list[tuple[str, str]]

OWN = Path(__file__).with_name("exemplars.json")
_SHAPES = 'a JSON list of [before, after], JSON lines {"before", "after"}, or before<tab>after'


def exemplars(file: str, language: Language) -> Pairs:
    """The pairs in a file, or our own for a language; ``CapivaraError`` where there are none."""
    if file:
        return read_pairs(Path(file).expanduser())
    own = json.loads(OWN.read_text("utf-8"))
    if language.code not in own:
        raise CapivaraError(
            f"rewrite: there are no exemplars in {language.name} ({language.code}); there are some in {', '.join(own)}",
            f"--exemplars FILE takes a dozen pairs of your own: {_SHAPES}",
        )
    return [(before, after) for before, after in own[language.code]]


def read_pairs(file: Path) -> Pairs:
    """Pairs from a ``.json``, ``.jsonl`` or ``.tsv`` file; ``CapivaraError`` naming the line that is none."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(f"--exemplars {file}: cannot be read: {error}", _SHAPES) from error
    pairs: Pairs = []
    for line, entry in _entries(file, text):
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not all(map(_is_plain, entry)):
            raise CapivaraError(f"--exemplars {file}: {line}: not a pair of two texts without =>", _SHAPES)
        pairs.append((" ".join(entry[0].split()), " ".join(entry[1].split())))
    if not pairs:
        raise CapivaraError(f"--exemplars {file}: holds no pair", _SHAPES)
    return pairs


def _is_plain(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and "=>" not in text


def _entries(file: Path, text: str) -> Iterator[tuple[str, Any]]:
    """What a file lists, each with its place in words."""
    if file.suffix == ".tsv":
        rows = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
        yield from ((f"line {number}", row) for number, row in enumerate(rows, start=1) if row)
        return
    try:
        if file.suffix == ".jsonl":
            for number, line in enumerate(text.splitlines(), start=1):
                if line.strip():
                    entry = json.loads(line)
                    yield (
                        f"line {number}",
                        [entry.get("before"), entry.get("after")] if isinstance(entry, dict) else entry,
                    )
            return
        listed = json.loads(text)
    except ValueError as error:
        raise CapivaraError(f"--exemplars {file}: not JSON: {error}", _SHAPES) from error
    if not isinstance(listed, list):
        raise CapivaraError(f"--exemplars {file}: not a list", _SHAPES)
    yield from ((f"pair {number}", entry) for number, entry in enumerate(listed, start=1))
