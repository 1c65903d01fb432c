"""Histogram of scores in bins of 0.02: counted as notes of a step, shown in its summary."""

from __future__ import annotations

from typing import Any

from capivara_cli import console

PER_BIN = 200
"""Scores are multiples of 0.0001, and a bin has 200 of them, so bins are exact."""
_NAME = "score from "


def bin_of(score: float) -> str:
    """The note that counts the bin of a score. Like all notes, bins are added up over shards and machines.

    >>> bin_of(0.1599), bin_of(0.16), bin_of(-0.0001)
    ('score from 0.14', 'score from 0.16', 'score from -0.02')
    """
    return f"{_NAME}{round(score * 10_000) // PER_BIN / 50:.2f}"


def is_bin(note: str) -> bool:
    """Whether a note of a step is a bin."""
    return note.startswith(_NAME)


def take(summary: dict[str, Any]) -> dict[str, int]:
    """Move the bins from the notes of a summary and of its steps to a ``histogram`` each; return the summary's.

    If several steps score, as in ``filter | rewrite | filter``, the summary shows the last histogram.
    """
    steps = summary["steps"] if isinstance(summary.get("steps"), list) else []  # in training, ``steps`` is a number
    for part in (*steps, summary):
        bins, part["notes"] = _split(part.get("notes", {}))
        if bins:
            part["histogram"] = bins
    scored = [part["histogram"] for part in (summary, *steps) if "histogram" in part]
    if not scored:
        return {}
    summary["histogram"] = scored[-1]
    return scored[-1]


def _split(notes: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    names = sorted((name for name in notes if name.startswith(_NAME)), key=lambda name: float(name[len(_NAME) :]))
    rest = {name: count for name, count in notes.items() if not name.startswith(_NAME)}
    return {name[len(_NAME) :]: notes[name] for name in names}, rest


def sparkline(histogram: dict[str, int]) -> str:
    """One line for a terminal: a bar per bin from the lowest to the highest, a space for an empty bin.

    >>> sparkline({"0.10": 1, "0.12": 8, "0.16": 4})
    'scores 0.10 ▁█ ▄ 0.18'
    """
    lows = [round(float(low) * 50) for low in histogram]
    counts = dict(zip(lows, histogram.values(), strict=True))
    bars = console.sparkline(
        _height(counts.get(low, 0), max(counts.values())) for low in range(min(lows), max(lows) + 1)
    )
    return f"scores {min(lows) / 50:.2f} {bars} {(max(lows) + 1) / 50:.2f}"


def _height(count: int, most: int) -> float | None:
    """Rounded up to eighths of ``most``, so that a bin with one score is not lower than the lowest bar; None for 0."""
    return (-(-count * 8 // most) - 1) / 7 if count else None
