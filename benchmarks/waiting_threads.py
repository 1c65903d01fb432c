"""What a training step of the toy model costs if threads that wait sleep, spin briefly, or spin as libgomp does.

    python benchmarks/waiting_threads.py [--rounds 5] [--steps 60] [--busy 2]   a Markdown table

Each round trains once with each setting, in another order. The step is the median over the second half of the steps.
``--busy``: as many other processes compute all the time. On a quiet machine leave it out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = {
    "sleep at once (OMP_WAIT_POLICY=PASSIVE)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin for 10 µs (GOMP_SPINCOUNT=1000)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
    "spin for 100 µs (GOMP_SPINCOUNT=10000)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
    "spin for 3 ms (libgomp's default)": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "300000"},
}
CAPIVARA = [sys.executable, "-m", "capivara_cli"]


def trained(folder: Path, name: str, setting: dict[str, str], steps: int) -> tuple[float, float]:
    """Median seconds of a step, and CPU seconds of the whole command."""
    words = ["train", "shards", "--lang", "en", "--model", "toy", "--steps", str(steps), "--batch-size", "96",
             "--warmup", "5", "--name", name, "--no-energy", "--quiet"]  # fmt: skip
    process = subprocess.Popen([*CAPIVARA, *words], cwd=folder, env={**os.environ, **setting})
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{name} failed"
    lines = (folder / "runs" / name / "metrics.jsonl").read_text("utf-8").splitlines()
    seconds = [json.loads(line)["timing"]["seconds"] for line in lines[steps // 2 :]]
    return statistics.median(seconds), usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            subprocess.run([*CAPIVARA, "pack", "toy:800", "--out", "shards", "--quiet"], cwd=folder, check=True)
            trained(folder, "first", {}, 2)  # writes the features
            for number in range(options.rounds):
                for name in random.Random(number).sample(list(SETTINGS), len(SETTINGS)):
                    run = f"{number}-{list(SETTINGS).index(name)}"
                    found[name].append(trained(folder, run, SETTINGS[name], options.steps))
    finally:
        for process in busy:
            process.kill()
    print("| a thread that waits for another | step, ms | slowest round | CPU s of the command |\n|---|--:|--:|--:|")
    for name, results in found.items():
        steps, cpu = [1000 * step for step, _ in results], [each for _, each in results]
        print(f"| {name} | {statistics.median(steps):.1f} | {max(steps):.1f} | {statistics.median(cpu):.1f} |")


if __name__ == "__main__":
    main()
