"""Moving shards through text stages: translate with the identity translator beside plain reading and writing; pipes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.results import Found, Row, Setup
from benchmarks.peers.stream import with_tarfile
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.sample import Caption, Sample, encode_json

TITLE = "Text stages, and pipes of them"
PACKAGES = ()
COLUMNS = {
    "stages": {"way": ("", ""), "us": ("µs per sample", ",.0f"), "mb_s": ("MB/s", ",.0f")},
    "pipes": {
        "pipe": ("three processes in a pipe", ""),
        "us": ("CPU µs per sample", ",.0f"),
        "cpu_mb_s": ("MB/s on two cores by CPU time", ",.0f"),
        "clock_mb_s": ("MB/s by the clock", ",.0f"),
    },
}
TEXT = """
`translate` with the identity translator on {samples:,} samples, {megabytes:,.0f} MB: images of 53 KB with 11 captions
each, which come out as 22; beside it `tarfile`, member for member, and a copy of the file. CPU time of one process,
the least of {repeats}.

{stages}

{ratios}

Pipes, what is beyond the start of their processes (the same samples; least of {repeats} runs less that of a run over
ten samples):

{pipes}
"""
REPEATS = 3
WORDS = ("a", "man", "two", "women", "dog", "on", "the", "beach", "with", "red", "hat", "is", "riding", "bike", "green")
PIPES = {
    "split three times": ["split --fraction 0"] * 3,
    "split, dedupe, split; no captions to compare": ["split --fraction 0", "dedupe --lang xh", "split --fraction 0"],
    "dedupe three times; no captions to compare": ["dedupe --lang xh"] * 3,
}


def make(path: Path, count: int) -> None:
    source = random.Random(0)
    with open(path, "wb") as out:
        writer = ShardWriter(out, [])
        for number in range(count):
            captions = [Caption(" ".join(source.choices(WORDS, k=12)), "en", "alt") for _ in range(11)]
            document = {"id": number, "captions": [caption.to_json() for caption in captions]}
            image = source.randbytes(source.randint(30_000, 76_000))
            writer.write(Sample(f"{number:08d}", {"jpg": image, "json": encode_json(document)}))
        writer.finish()


def translated(source: Path, target: Path) -> None:
    with open(target, "wb", buffering=1 << 20) as out:
        plan = parse_plan("translate --translator identity --lang pt --no-cache")
        engine.run(plan, [str(source)], Settings(quiet=True, energy=False), out)


def seconds(work: Callable[[Path, Path], object], source: Path, target: Path) -> float:
    """The least CPU time of a few repeats, each into a new file."""
    found = []
    for _ in range(REPEATS):
        target.unlink(missing_ok=True)
        start = time.process_time()
        work(source, target)
        found.append(time.process_time() - start)
    return min(found)


def piped(stages: list[str], source: Path) -> tuple[float, float]:
    """CPU seconds of all stages together and seconds by the clock, of processes joined by pipes."""
    program = f"{sys.executable} -m capivara_cli"
    command = " | ".join(f"{program} {stage} --quiet --no-energy" for stage in stages)
    before, start = os.times(), time.monotonic()
    subprocess.run(f"set -o pipefail; < {source} {command} > /dev/null", shell=True, check=True, executable="/bin/bash")
    after, end = os.times(), time.monotonic()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, end - start


def pipes(folder: Path, count: int) -> list[Row]:
    few, many = folder / "few.tar", folder / "many.tar"
    make(few, 10)
    make(many, count)
    size = (many.stat().st_size - few.stat().st_size) / 1e6
    rows = []
    for name, stages in PIPES.items():
        start, full = ([piped(stages, source) for _ in range(REPEATS)] for source in (few, many))
        cpu, clock = (min(run[each] for run in full) - min(run[each] for run in start) for each in (0, 1))
        rows.append({"pipe": name, "us": cpu / count * 1e6, "cpu_mb_s": 2 * size / cpu, "clock_mb_s": size / clock})
    return rows


def measure(setup: Setup) -> Found:
    count = 200 if setup.small else 5000
    ways = {
        "translate, identity": translated,
        "tarfile, read and write": with_tarfile,
        "copy of the file": shutil.copyfile,
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.tar", Path(folder) / "out.tar"
        make(source, count)
        size = source.stat().st_size / 1e6
        taken = {name: seconds(work, source, target) for name, work in ways.items()}
        joined = pipes(Path(folder), count)
    rows: list[Row] = [{"way": name, "us": each / count * 1e6, "mb_s": size / each} for name, each in taken.items()]
    ratios = {
        "translate / tarfile": taken["translate, identity"] / taken["tarfile, read and write"],
        "translate / copy of the file": taken["translate, identity"] / taken["copy of the file"],
    }
    facts = {"samples": count, "megabytes": size, "repeats": REPEATS}
    return Found({"stages": rows, "pipes": joined}, ratios, facts)
