"""Two workers against one, and Ray against workers that we start ourselves, on a stage that only computes.

python benchmarks/scaling.py [ROUNDS] [SHARDS] [SAMPLES]

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

from capivara_cli.console import table

PLAN = "translate --translator toy --lang pt,xh,hi --no-cache"
CAPIVARA = [sys.executable, "-m", "capivara_cli"]
KINDS = {
    "1 worker": ["--workers", "1"],
    "2 workers": ["--workers", "2"],
    "2 Ray actors": ["--workers", "2", "--engine", "ray"],
}
Row = tuple[float, float, float]


def main() -> None:
    rounds, shards, samples = (int(word) for word in [*sys.argv[1:], "3", "24", "1000"][:3])
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        pack = ["pack", f"toy:{shards * samples}", "--shard-size", str(samples), "--out", "shards", "--quiet"]
        subprocess.run([*CAPIVARA, *pack], check=True)
        seen: dict[str, list[Row]] = {name: [] for name in KINDS}
        for number in range(rounds):
            for name, words in KINDS.items():
                seen[name].append(measured(words, samples))
                whole, work, cpu = seen[name][-1]
                print(f"{number + 1}: {name}: {whole:.1f} s, {work:.0f} samples/s, CPU {cpu:.1f} s; load {load()}")
    report(seen)


def measured(words: list[str], samples: int) -> Row:
    """Seconds of the command, samples a second while it works, and processor seconds."""
    shutil.rmtree("out", ignore_errors=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run = [*CAPIVARA, "run", PLAN, "shards", "--out", "out", "--quiet", "--no-energy", "--device", "cpu", *words]
    subprocess.run(run, check=True, stdin=subprocess.DEVNULL)
    whole, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times = sorted(path.stat().st_mtime for path in Path("out").glob("*.tar"))
    first = int(words[1]) - 1  # by then every worker is at work
    return whole, samples * (len(times) - 1 - first) / (times[-1] - times[first]), cpu


def load() -> str:
    return f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def report(seen: dict[str, list[Row]]) -> None:
    middle = {name: [statistics.median(row[each] for row in rows) for each in range(3)] for name, rows in seen.items()}
    rows = [[name, f"{whole:.1f}", f"{work:.0f}", f"{cpu:.1f}"] for name, (whole, work, cpu) in middle.items()]
    print(table(rows, ["", "whole, s", "work, samples/s", "CPU, s"]))
    one, two, ray = middle["1 worker"], middle["2 workers"], middle["2 Ray actors"]
    print(f"2 workers: {two[1] / one[1]:.2f} times the work of one, {one[0] / two[0]:.2f} with start-up")
    print(f"Ray: {two[1] / ray[1] - 1:+.1%} beyond its start-up, which takes {ray[0] - two[0]:.1f} s more")


if __name__ == "__main__":
    main()
