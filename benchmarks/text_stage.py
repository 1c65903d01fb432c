"""Moving shards through a text stage: translate with the identity translator beside a plain read and write.

python benchmarks/text_stage.py [SAMPLES]   images of 53 KB with eleven captions each; best of three, one process
"""

from __future__ import annotations

import io
import random
import shutil
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


if __name__ == "__main__":
    main()
