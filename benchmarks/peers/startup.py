"""Seconds until the program answers: --help, and the message about missing files without a network."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peers.results import Found, Setup

TITLE = "Saying something"
PACKAGES = ("torch", "transformers", "typer")
COLUMNS = {
    "help": {"command": ("command", ""), "least": ("least CPU s", ".3f"), "median": ("median CPU s", ".3f")},
    "offline": {"command": ("command", ""), "seconds": ("seconds", ".1f")},
}
TEXT = """
Processor seconds of {runs} runs:

{help}

{ratios}

With no network and nothing downloaded before, from the command to the message that says what was needed (the median
of {offline_runs}):

{offline}
"""
HELP = (["--help"], ["caption", "--help"], ["train", "--help"])
OFFLINE = (
    "train shards --lang hi --lora-r 8", "eval flickr30k --lang pt", "translate shards --lang pt",
    "caption shards --n 10",
)  # fmt: skip
CAPIVARA = [sys.executable, "-m", "capivara_cli"]


def cpu_seconds(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*CAPIVARA, *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def refused(line: str, folder: Path) -> float:
    """Seconds until a command has said that it needs something that cannot be had; it has to end with 1."""
    empty = {
        name: str(folder / "none") for name in ("HF_HOME", "CAPIVARA_CACHE", "XDG_DATA_HOME", "ARGOS_PACKAGES_DIR")
    }
    started = time.monotonic()
    done = subprocess.run(
        [*CAPIVARA, *line.split(), "--no-energy"], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **empty, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    taken = time.monotonic() - started
    if done.returncode != 1:
        raise SystemExit(f"capivara {line} ended with {done.returncode}:\n{done.stderr}")
    return taken


def measure(setup: Setup) -> Found:
    runs, few = (2, 1) if setup.small else (20, 3)
    rows = []
    for words in HELP:
        spent = [cpu_seconds(*words) for _ in range(runs)]
        rows.append({"command": f"capivara {' '.join(words)}", "least": min(spent), "median": statistics.median(spent)})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack = ["pack", "toy:8", "--out", "shards", "--quiet", "--no-energy"]
        subprocess.run([*CAPIVARA, *pack], cwd=folder, check=True, stdin=subprocess.DEVNULL)
        offline = [
            {"command": f"capivara {line}", "seconds": statistics.median(refused(line, folder) for _ in range(few))}
            for line in OFFLINE
        ]
    ratios = {"capivara train --help / capivara --help, medians": rows[2]["median"] / rows[0]["median"]}
    return Found({"help": rows, "offline": offline}, ratios, {"runs": runs, "offline_runs": few})
