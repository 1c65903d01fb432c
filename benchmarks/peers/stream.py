"""Reading and writing shards: ours beside tarfile and webdataset, same samples, one process."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.results import Found, Row, Setup
from capivara_cli.shards.archive import ShardWriter, open_shard
from capivara_cli.shards.sample import Sample

TITLE = "Reading and writing shards"
PACKAGES = ("webdataset",)
COLUMNS = {"ways": {"way": ("read and write", ""), "us": ("µs per sample", ",.1f"), "mb_s": ("MB/s", ",.0f")}}
TEXT = """
{samples:,} samples of the size of CC3M's (images of {image_kb:.0f} KB, a json, a txt), each read and written again;
CPU time of one process, the least of {repeats} repeats.

{ways}

{ratios}

Ours also verifies every header and demands the end marker.
"""
REPEATS = 5


def make(path: Path, count: int) -> None:
    """Samples of the size of CC3M's: a JPEG of about 53 KB, 360 bytes of json, a short txt."""
    source = random.Random(0)
    with open(path, "wb") as out:
        writer = ShardWriter(out, [])
        for number in range(count):
            image = source.randbytes(source.randint(30_000, 76_000))
            writer.write(
                Sample(f"{number:08d}", {"jpg": image, "json": b'{"a": "%s"}' % (b"x" * 350), "txt": b"y" * 60})
            )
        writer.finish()


def ours(source: Path, target: Path) -> None:
    with open_shard(str(source)) as reader, open(target, "wb", buffering=1 << 20) as out:
        writer = ShardWriter(out, reader.history)
        for sample in reader:
            writer.write(sample)
        writer.finish()


def with_tarfile(source: Path, target: Path) -> None:
    with tarfile.open(source, "r|") as tar, tarfile.open(target, "w|", format=tarfile.USTAR_FORMAT) as out:
        for member in tar:
            data = tar.extractfile(member)
            out.addfile(member, io.BytesIO(data.read() if data else b""))


def with_webdataset(source: Path, target: Path) -> None:
    import webdataset

    with webdataset.TarWriter(str(target), encoder=False) as out:
        for sample in webdataset.WebDataset(str(source), shardshuffle=False):
            out.write({key: value for key, value in sample.items() if key in {"__key__", "jpg", "json", "txt"}})


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "capivara": ours,
    "tarfile": with_tarfile,
    "webdataset": with_webdataset,
}


def seconds(copy: Callable[[Path, Path], None], source: Path, target: Path) -> float:
    """The least CPU time of a few repeats, imports paid before.

    Each writes a new file: to empty one of this size costs the system as much as a third of our copy.
    """
    copy(source, target)
    times = []
    for _ in range(REPEATS):
        target.unlink()
        started = time.process_time()
        copy(source, target)
        times.append(time.process_time() - started)
    return min(times)


def measure(setup: Setup) -> Found:
    count = 200 if setup.small else 5000
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.tar"), Path(folder, "out.tar")
        make(source, count)
        size = source.stat().st_size / 1e6
        taken = {name: seconds(copy, source, target) for name, copy in WAYS.items()}
    rows: list[Row] = [{"way": name, "us": each / count * 1e6, "mb_s": size / each} for name, each in taken.items()]
    ratios = {f"{name} / capivara": taken[name] / taken["capivara"] for name in ("tarfile", "webdataset")}
    return Found({"ways": rows}, ratios, {"samples": count, "image_kb": 53, "repeats": REPEATS})
