"""Measure the checks of translations: how many right translations they drop, and how many wrong ones they find.

python benchmarks/guards.py FOLDER [--half first|second|all] [--limit N] [--faults N]
                            [--save rates.json] [--before rates.json]

FOLDER has files such as ``captions.en-pt.tsv``: on each line a text, a tab, and its right translation. Wrong
translations are made from the right ones by the rules in ``FAULTS``, with a fixed seed. The limits of the checks were
set on the first half of each file, so rates are reported on the second. ``--save`` keeps the rates, and ``--before``
prints them in front of the new ones. To measure an older version, put its checkout first in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from capivara_cli.languages import identify, translation_checks

Row = tuple[str, str]
"""A text and its translation."""
Fault = Callable[[Row, Row, str, random.Random], Row | None]
"""Make a wrong translation of a row: (row, another row, target language, random numbers). None if it cannot."""

_NEGATIONS = {
    "pt": "não", "es": "no", "ca": "no", "gl": "non", "fr": "pas", "de": "nicht", "cs": "není", "hi": "नहीं",
    "it": "non", "nl": "niet", "en": "not", "id": "tidak", "da": "ikke", "sk": "nie", "ms": "tidak", "bs": "nije",
}  # fmt: skip
_IN_ENGLISH = {
    "pt": "(em inglês)", "es": "(en inglés)", "ca": "(en anglès)", "gl": "(en inglés)", "fr": "(en anglais)",
    "de": "(auf Englisch)", "cs": "(anglicky)", "hi": "(अंग्रेज़ी में)",
}  # fmt: skip
_WORDLESS = ("!!!", "...", "🐶", "❤️❤️", "???", "-", "🎉🎂", "★★★")
_MARKUP = ("*b>", "</i>", "<b>", "{\\an8}", "[/url]", "**", "<br", "&lt;p")


def _words(text: str) -> list[str]:
    return text.rstrip(" .!?।。").split()


def _last_word_five_times(row: Row, other: Row, target: str, rng: random.Random) -> Row:
    return row[0], " ".join([*_words(row[1]), *_words(row[1])[-1:] * 4])


def _last_three_words_three_times(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    words = _words(row[1])
    return (row[0], " ".join([*words, *words[-3:] * 2])) if len(words) > 3 else None


def _said_twice(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    return (row[0], f"{row[1]} {row[1]}") if len(_words(row[1])) > 1 else None


def _last_third_cut(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    words = row[1].split()
    return (row[0], " ".join(words[: -(len(words) // 3)])) if len(words) >= 6 else None


def _last_third_cut_without_full_stops(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    return _last_third_cut((" ".join(_words(row[0])), " ".join(_words(row[1]))), other, target, rng)


def _left(share: float) -> Fault:
    def fault(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
        text, translation = row[0].split(), row[1].split()
        if min(len(text), len(translation)) < 6:
            return None
        kept = translation[: round(len(translation) * (1 - share))]
        return row[0], " ".join([*kept, *text[round(len(text) * (1 - share)) :]])

    return fault


def _another_text(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    return (row[0], other[0]) if other[0] != row[0] and len(other[0].split()) >= 5 else None


def _one_word_three_times(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    return (row[0], " ".join([max(_words(row[1]), key=len)] * 3)) if len(_words(row[1])) > 3 else None


def _one_word_with_dashes(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    return (row[0], " - ".join([max(_words(row[1]), key=len)] * 3)) if len(_words(row[1])) > 3 else None


def _negated(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    """The "no" and "na" of Portuguese become "não"; elsewhere a negation comes between two words."""
    words, negation = row[1].split(), _NEGATIONS.get(target)
    if negation is None or len(words) < 4 or _SOURCE_NEGATIONS.search(row[0]) or negation in words:
        return None
    places = [place for place, word in enumerate(words) if target == "pt" and word in ("no", "na")]
    if places:
        words[rng.choice(places)] = negation
    else:
        words.insert(rng.randrange(1, len(words)), negation)
    return row[0], " ".join(words)


_SOURCE_NEGATIONS = re.compile(
    r"\b(?:no|not|without|never|none|nobody|nothing|neither|nor|cannot|sin|sem|nunca|não|ni|nadie)\b|n't|less\b", re.I
)


def _words_for_none(row: Row, other: Row, target: str, rng: random.Random) -> Row:
    return rng.choice(_WORDLESS), rng.choice(_words(row[1]) or ["x"])


def _language_named(row: Row, other: Row, target: str, rng: random.Random) -> Row | None:
    return (row[0], f"{row[1].rstrip('.')} {_IN_ENGLISH[target]}") if target in _IN_ENGLISH else None


def _markup(row: Row, other: Row, target: str, rng: random.Random) -> Row:
    words = row[1].split()
    words.insert(rng.randrange(len(words) + 1), rng.choice(_MARKUP))
    return row[0], " ".join(words)


FAULTS: dict[str, Fault] = {
    "last word five times": _last_word_five_times,
    "last three words three times": _last_three_words_three_times,
    "said twice": _said_twice,
    "last third cut off": _last_third_cut,
    "the same, texts without full stops": _last_third_cut_without_full_stops,
    "second half left in the source language": _left(0.5),
    "three quarters left in the source language": _left(0.75),
    "another text in the source language": _another_text,
    "one word three times": _one_word_three_times,
    "one word three times, with dashes": _one_word_with_dashes,
    "a negation that the source lacks": _negated,
    "words for a text without words": _words_for_none,
    "a note on the language": _language_named,
    "remains of markup": _markup,
}
STRIPPED = "right translations without full stops"
RIGHT = "right translations"


def rows_of(path: Path, half: str, limit: int) -> list[Row]:
    """The rows of one half of a file that have both sides; at most ``limit`` of them."""
    rows = [tuple(line.split("\t")) for line in path.read_text("utf-8").splitlines()]
    middle = len(rows) // 2
    chosen = {"first": rows[:middle], "second": rows[middle:], "all": rows}[half]
    return [(row[0], row[1]) for row in chosen if len(row) == 2 and row[0].strip() and row[1].strip()][:limit]


def dropped(rows: list[Row], source: str, target: str) -> tuple[Counter[str], float]:
    """How many rows each check drops, by its reason, and the CPU seconds that this takes."""
    counts: Counter[str] = Counter()
    start = time.process_time()
    for text, translation in rows:
        reason = translation_checks.objection(text, translation, source, target, translation_checks.NAMES)
        if reason:
            counts[reason] += 1
    return counts, time.process_time() - start


def rates(path: Path, half: str, limit: int, faults: int) -> dict[str, list[float]]:
    """Fault -> [texts, share dropped] for the pair of a file; also right translations, and CPU µs for each."""
    source, _, target = path.name.split(".")[-2].partition("-")
    rows = rows_of(path, half, limit)
    counts, seconds = dropped(rows, source, target)
    found = {RIGHT: [len(rows), sum(counts.values()) / len(rows)], "µs": [len(rows), 1e6 * seconds / len(rows)]}
    stripped = [(text, " ".join(_words(translation))) for text, translation in rows]
    found[STRIPPED] = [len(rows), sum(dropped(stripped, source, target)[0].values()) / len(rows)]
    rows = rows[:faults]
    for name, fault in FAULTS.items():
        rng = random.Random(name)
        others = rng.sample(rows, len(rows))
        made = [fault(row, other, target, rng) for row, other in zip(rows, others, strict=True)]
        wrong = [row for row in made if row]
        if wrong:
            found[name] = [len(wrong), sum(dropped(wrong, source, target)[0].values()) / len(wrong)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("first", "second", "all"), default="second")
    parser.add_argument("--limit", type=int, default=2000, help="right translations of a file")
    parser.add_argument("--faults", type=int, default=600, help="how many of them are made wrong, in each way")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    identify.probabilities("a dog")  # loads its model
    files = sorted(options.folder.glob("*.*-*.tsv"))
    new = {path.name.removesuffix(".tsv"): rates(path, options.half, options.limit, options.faults) for path in files}
    if options.save:
        options.save.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(table(new, json.loads(options.before.read_text("utf-8")) if options.before else {}))


def table(new: dict[str, dict[str, list[float]]], before: dict[str, dict[str, list[float]]]) -> str:
    """A Markdown table of the share dropped in percent, before → after, with a column for each file."""
    lines = ["| | " + " | ".join(new) + " |", "|---" * (len(new) + 1) + "|"]
    for name in (RIGHT, STRIPPED, *FAULTS, "µs"):
        cells = [_cell(name, each.get(name), before.get(pair, {}).get(name)) for pair, each in new.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(name: str, new: list[float] | None, before: list[float] | None) -> str:
    def shown(value: list[float] | None) -> str:
        if value is None:
            return "–"
        return f"{value[1]:.0f}" if name == "µs" else f"{100 * value[1]:.{2 if name in (RIGHT, STRIPPED) else 0}f}"

    return f"{shown(before)} → {shown(new)}" if before else shown(new)


if __name__ == "__main__":
    main()
