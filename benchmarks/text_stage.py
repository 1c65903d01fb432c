"""Moving shards through text stages: translate with the identity translator beside plain reading and writing; pipes.

python benchmarks/text_stage.py [SAMPLES]   images of 53 KB with eleven captions each; best of three
"""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from capivara_cli import engine
from capivara_cli.options import parse_plan
from capivara_cli.sample import Caption, Sample, encode_json
from capivara_cli.shards import ShardWriter
from capivara_cli.stage import Settings

REPEATS = 3
WORDS = ("a", "man", "two", "women", "dog", "on", "the", "beach", "with", "red", "hat", "is", "riding", "bike", "green")


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


def plain(source: Path, target: Path) -> None:
    """tarfile, member for member, nothing else."""
    with tarfile.open(source, "r|") as tar, tarfile.open(target, "w|", format=tarfile.USTAR_FORMAT) as out:
        for member in tar:
            data = tar.extractfile(member)
            out.addfile(member, io.BytesIO(data.read() if data else b""))


def translated(source: Path, target: Path) -> None:
    with open(target, "wb", buffering=1 << 20) as out:
        plan = parse_plan("translate --translator identity --lang pt --no-cache")
        engine.run(plan, [str(source)], Settings(quiet=True, energy=False), out)


def seconds(work: Callable[[Path, Path], object], source: Path, target: Path) -> float:
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work(source, target)
        found.append(time.process_time() - start)
    return min(found)


PIPES = {
    "split three times": ["split --fraction 0"] * 3,
    "split, dedupe, split; no captions to compare": ["split --fraction 0", "dedupe --lang xh", "split --fraction 0"],
    "dedupe three times; no captions to compare": ["dedupe --lang xh"] * 3,
}


def piped(stages: list[str], source: Path) -> tuple[float, float]:
    """CPU seconds of all stages together and seconds by the clock, of processes joined by pipes."""
    program = f"{sys.executable} -m capivara_cli"
    command = " | ".join(f"{program} {stage} --quiet --no-energy" for stage in stages)
    before, start = os.times(), time.monotonic()
    subprocess.run(f"set -o pipefail; < {source} {command} > /dev/null", shell=True, check=True, executable="/bin/bash")
    after, end = os.times(), time.monotonic()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return spent, end - start


def print_pipes(folder: Path, count: int) -> None:
    """What is beyond the start of the processes: the least of three runs, less the least of three with ten samples."""
    few, many = folder / "few.tar", folder / "many.tar"
    make(few, 10)
    make(many, count)
    size = (many.stat().st_size - few.stat().st_size) / 1e6
    print("\n| three processes in a pipe | CPU us per sample | MB/s on two cores by CPU time | MB/s by the clock |")
    print("|---|---|---|---|")
    for name, stages in PIPES.items():
        start, full = ([piped(stages, source) for _ in range(REPEATS)] for source in (few, many))
        cpu, clock = (min(run[each] for run in full) - min(run[each] for run in start) for each in (0, 1))
        print(f"| {name} | {cpu / count * 1e6:.0f} | {2 * size / cpu:.0f} | {size / clock:.0f} |", flush=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.tar", Path(folder) / "out.tar"
        make(source, count)
        size = source.stat().st_size / 1e6
        ways = {
            "copy of the file": shutil.copyfile,
            "tarfile, read and write": plain,
            "translate, identity": translated,
        }
        taken = {name: seconds(work, source, target) for name, work in ways.items()}
    print(f"{count} samples, {size:.0f} MB, 11 captions each, twice as many after\n")
    print("| | us per sample | MB/s | speed of tarfile |\n|---|---|---|---|")
    for name, spent in taken.items():
        relative = taken["tarfile, read and write"] / spent
        print(f"| {name} | {spent / count * 1e6:.0f} | {size / spent:.0f} | {relative:.0%} |")
    with tempfile.TemporaryDirectory() as folder:
        print_pipes(Path(folder), 4 * count)


if __name__ == "__main__":
    main()
