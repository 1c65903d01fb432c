"""Peak memory of stages over few and over many samples: ``benchmarks/memory.py``."""

from __future__ import annotations

from benchmarks import memory
from benchmarks.peers.apart import apart
from benchmarks.peers.results import Found, Row, Setup

TITLE = "Memory of a stream"
PACKAGES = ("numpy",)
COLUMNS = {
    "stages": {
        "stage": ("peak resident MB", ""),
        "few": ("few samples", ",.0f"),
        "many": ("many samples", ",.0f"),
        "grown": ("growth", "+,.0f"),
    }
}
TEXT = """
Stages over {few:,} and over {many:,} samples of 2.5 KB, generated while they are read, through a pipe. Without
codecarbon, which is loaded after ten seconds of work, whatever the data.

{stages}

{ratios}
"""


def run(few: int, many: int) -> list[Row]:
    """In a process that is small itself: a child's peak begins with its parent's."""
    rows: list[Row] = []
    for stage, words in memory.STAGES.items():
        less, more = memory.peak(words, few), memory.peak(words, many)
        rows.append({"stage": stage, "few": less, "many": more, "grown": more - less})
    return rows


def measure(setup: Setup) -> Found:
    few, many = (100, 1_000) if setup.small else (1_000, 200_000)
    rows = apart(run, few, many)
    ratios = {f"many / few samples, {row['stage']}": row["many"] / row["few"] for row in rows}
    return Found({"stages": rows}, ratios, {"few": few, "many": many})
