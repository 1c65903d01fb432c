"""Exemplars: pairs of captions with the same meaning, shown to a language model before the caption to rewrite."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.languages import Language
from capivara_cli.models.generation import RewriteRequest
from capivara_cli.pipeline.option_kinds import Names

Pairs = list[tuple[str, str]]

OWN = Path(__file__).with_name("exemplars.json")
"""Language -> name of a set -> pairs, all of them written for capivara."""
_SHAPES = 'a JSON list of [before, after], JSON lines {"before", "after"}, or before<tab>after'
_SUFFIXES = (".json", ".jsonl", ".tsv")


@dataclass(frozen=True)
class Exemplars:
    """Sets of pairs. The prompt of a rewrite holds pairs of one set; the next rewrite of the text uses the next set.

    LaCLIP makes four rewrites of a caption with exemplars of four different sources.
    """

    sets: Sequence[Pairs]

    def drawn(self, request: RewriteRequest, shots: int) -> Pairs:
        """``shots`` pairs for one rewrite, or all if there are fewer; its seed chooses the pairs and their order."""
        pairs = self.sets[request.number % len(self.sets)]
        return random.Random(request.seed).sample(pairs, min(shots, len(pairs)))

    @property
    def texts(self) -> frozenset[str]:
        return frozenset(text for pairs in self.sets for pair in pairs for text in pair)


def exemplars(spec: str, language: Language) -> Exemplars:
    """The pairs in a file, or our own for a language: the sets named in ``spec``, or all if it is empty.

    Raises ``CapivaraError`` if the file has no pairs, or if there is no such set.

    >>> from capivara_cli.languages import get
    >>> [len(pairs) for pairs in exemplars("plain,alt", get("en")).sets]
    [16, 10]
    """
    if spec.endswith(_SUFFIXES) or "/" in spec or Path(spec).is_file():
        return Exemplars([read_pairs(Path(spec).expanduser())])
    own: dict[str, dict[str, list[list[str]]]] = json.loads(OWN.read_text("utf-8"))
    if language.code not in own:
        raise CapivaraError(
            f"rewrite: there are no exemplars in {language.name} ({language.code}), only in {', '.join(own)}",
            f"--exemplars FILE reads a dozen pairs of your own: {_SHAPES}",
        )
    sets = own[language.code]
    names = Names().parse(spec) if spec.strip() else tuple(sets)
    for name in names:
        if name not in sets:
            hint = f"--exemplars also reads a file of your own: {_SHAPES}"
            raise unknown(f"file or {language.name} set of exemplars", name, sets, hint)
    return Exemplars([[(before, after) for before, after in sets[name]] for name in names])


def read_pairs(file: Path) -> Pairs:
    """Pairs from a ``.json``, ``.jsonl`` or ``.tsv`` file. Raises ``CapivaraError`` that names the first bad line."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(f"--exemplars {file}: cannot be read: {error}", _SHAPES) from error
    pairs: Pairs = []
    for place, entry in _entries(file, text):
        if not isinstance(entry, list) or len(entry) != 2 or not all(map(_is_plain, entry)):
            raise CapivaraError(f"--exemplars {file}: {place}: not a pair of two texts without =>", _SHAPES)
        pairs.append((" ".join(entry[0].split()), " ".join(entry[1].split())))
    if not pairs:
        raise CapivaraError(f"--exemplars {file}: has no pair", _SHAPES)
    return pairs


def _is_plain(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and "=>" not in text


def _entries(file: Path, text: str) -> Iterator[tuple[str, Any]]:
    """The entries of a file, each with its place for error messages."""
    if file.suffix == ".json":
        listed = _parsed(file, text, "")
        if not isinstance(listed, list):
            raise CapivaraError(f"--exemplars {file}: not a list", _SHAPES)
        yield from ((f"pair {number}", entry) for number, entry in enumerate(listed, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        if file.suffix == ".jsonl":
            entry = _parsed(file, line, f"{place}: ")
            yield place, [entry.get("before"), entry.get("after")] if isinstance(entry, dict) else entry
        else:
            yield place, line.split("\t")


def _parsed(file: Path, text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CapivaraError(f"--exemplars {file}: {place}not JSON: {error}", _SHAPES) from error
