"""Runs killed at random many times, compared with an uninterrupted run: ``benchmarks/kills.py``."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.peers.apart import environment
from benchmarks.peers.results import Found, Setup

TITLE = "Killed again and again"
PACKAGES = ("psutil",)
COLUMNS: dict[str, dict[str, tuple[str, str]]] = {}
TEXT = """
One plan captions shards (three prefixes) and translates them into two languages. Its process is killed at random
(`python -m benchmarks.kills one {one}`, {one_seconds:.0f} s), then runs to the end:

```text
{said_one}
```

Four workers share a folder, in a plan with a stage that must see all samples first. They are killed one at a time, and
once all together (`python -m benchmarks.kills workers {workers}`, {workers_seconds:.0f} s):

```text
{said_workers}
```
"""
RUNS = {"one": ("20", "2", "300"), "workers": ("24", "12", "200")}
SMALL = {"one": ("2", "1", "60"), "workers": ("2", "4", "40")}


def measure(setup: Setup) -> Found:
    facts = {}
    for mode, words in (SMALL if setup.small else RUNS).items():
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.kills", mode, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment(),
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"benchmarks.kills {mode}: {done.stdout[-2000:]}")
        said = "\n".join(line for line in done.stdout.splitlines() if line)
        facts |= {mode: " ".join(words), f"{mode}_seconds": time.monotonic() - began, f"said_{mode}": said}
    return Found({}, {}, facts)
