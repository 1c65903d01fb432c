"""Two workers against one, and Ray against workers that we start ourselves, on a stage that only computes.

Toy captions are translated by ``capivara translate``, one thread per process. The kinds take turns, so that what else
the machine does hits all of them; shown are the medians of the rounds. "whole" is the time of the command; "work" is
the time from the first shards that appear to the last one, for what appears in it, and so without any start-up.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peers.apart import apart
from benchmarks.peers.results import Found, Row, Setup

TITLE = "Two workers, and Ray"
PACKAGES = ("ray",)
COLUMNS = {
    "kinds": {
        "kind": ("", ""),
        "whole": ("whole, s", ",.1f"),
        "work": ("work, samples/s", ",.0f"),
        "cpu": ("CPU, s", ",.1f"),
    }
}
TEXT = """
`capivara translate` of toy captions, {shards} shards of {samples:,} samples, one thread per process; {rounds} rounds,
the kinds taking turns, medians. "Whole" is the time of the command. "Work" is the time from the first shards to the
last one, without start-up.

{kinds}

{ratios}

Ray's start-up takes {startup:.1f} s more; the processor seconds of its actors, which are not children of the command,
are not counted.
"""
PLAN = "translate --translator toy --lang pt,xh,hi --no-cache"
CAPIVARA = [sys.executable, "-m", "capivara_cli"]
KINDS = {
    "1 worker": ["--workers", "1"],
    "2 workers": ["--workers", "2"],
    "2 Ray actors": ["--workers", "2", "--engine", "ray"],
}


def run(rounds: int, shards: int, samples: int) -> list[list[dict[str, float]]]:
    """What was measured of each kind in each round, in a folder and a process of its own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        pack = ["pack", f"toy:{shards * samples}", "--shard-size", str(samples), "--out", "shards", "--quiet"]
        subprocess.run([*CAPIVARA, *pack], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return [[once(words, samples) for words in KINDS.values()] for _ in range(rounds)]


def once(words: list[str], samples: int) -> dict[str, float]:
    """Seconds of the command, samples a second while it works, and processor seconds."""
    shutil.rmtree("out", ignore_errors=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    line = [*CAPIVARA, "run", PLAN, "shards", "--out", "out", "--quiet", "--no-energy", "--device", "cpu", *words]
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    whole, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times = sorted(path.stat().st_mtime for path in Path("out").glob("*.tar"))
    first = int(words[1]) - 1  # by then every worker is at work
    work = samples * (len(times) - 1 - first) / (times[-1] - times[first])
    return {"whole": whole, "work": work, "cpu": cpu}


def measure(setup: Setup) -> Found:
    rounds, shards, samples = (1, 6, 50) if setup.small else (3, 24, 1000)
    seen = apart(run, rounds, shards, samples)
    rows: list[Row] = [
        {"kind": kind, **{key: statistics.median(row[place][key] for row in seen) for key in ("whole", "work", "cpu")}}
        for place, kind in enumerate(KINDS)
    ]
    one, two, ray = rows
    ratios = {
        "1 worker / 2 workers, time of the work": two["work"] / one["work"],
        "1 worker / 2 workers, whole": one["whole"] / two["whole"],
        "2 Ray actors / 2 workers, time of the work": two["work"] / ray["work"],
        "2 Ray actors / 2 workers, whole": ray["whole"] / two["whole"],
    }
    facts = {"rounds": rounds, "shards": shards, "samples": samples, "startup": ray["whole"] - two["whole"]}
    return Found({"kinds": rows}, ratios, facts)
