"""Embedding the images and captions of shards: ``clip-retrieval inference`` beside ``capivara filter``, as commands.

Both have the same ViT-B-32 with random weights. What an image takes is told from runs over many and over few: the rest
is the start of the program.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.apart import apart, environment
from benchmarks.peers.environments import python_of, version_of
from benchmarks.peers.photos import described, photos
from benchmarks.peers.results import Found, Row, Setup
from capivara_cli.shards.archive import ShardReader, ShardWriter

TITLE = "Embedding shards"
PACKAGES = ("torch", "open_clip_torch")
MODEL = "ViT-B-32"
BATCH = 64
"""Images at a time, ours by default."""
AT_MOST = 900
"""Seconds of a command: clip-retrieval does not end when one of its processes has."""
COLUMNS = {
    "ways": {
        "way": ("", ""),
        "image_ms": ("ms per image", ",.1f"),
        "cpu_ms": ("CPU ms per image", ",.1f"),
        "rate": ("images/s", ",.1f"),
        "start": ("start, s", ",.1f"),
        "peak": ("peak MB", ",.0f"),
    }
}
TEXT = """
The embeddings of {many} images ({images}) and a caption of each, from {workers} shards: `clip-retrieval inference`
(from webdataset to numpy files, as many workers that decode, batches of {batch}, which it warms up with) and
`capivara filter` (the same, written into the shards with the score; texts in bf16 where the processor multiplies in
it), the same {model} with random weights. The commands as they are run; an image is what {many} take more than {few},
divided.

{ways}

{ratios}

The embeddings of both have a cosine of at least {cosine:.6f}.
"""


def make_model(folder: str) -> None:
    """open_clip's model with random weights: a file for clip-retrieval, and the same as a folder for us."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(MODEL)
    path = Path(folder)
    path.mkdir()
    torch.save(model.state_dict(), path / "model.pt")
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path / "open_clip_model.safetensors")
    described = {"model_cfg": open_clip.get_model_config(MODEL), "preprocess_cfg": {}}
    (path / "open_clip_config.json").write_text(json.dumps(described))


def write_shards(folder: Path, given: list[Any], count: int) -> None:
    """One for each of its workers: one without a shard would end it."""
    folder.mkdir()
    for place in range(workers()):
        with open(folder / f"{place:05d}.tar", "wb") as out:
            writer = ShardWriter(out, [])
            for number in range(place, count, workers()):
                sample = given[number % len(given)].sample(captions=1)
                writer.write(type(sample)(f"{number:08d}", sample.members))
            writer.finish()


def theirs(shards: Path, out: Path, model: Path) -> list[str]:
    return [
        str(python_of("clip-retrieval").with_name("clip-retrieval")), "inference",
        f"--input_dataset={shards}/{{00000..{workers() - 1:05d}}}.tar", f"--output_folder={out}",
        "--input_format=webdataset", f"--clip_model=open_clip:{MODEL}/{model / 'model.pt'}",
        f"--batch_size={BATCH}", f"--num_prepro_workers={workers()}", "--enable_wandb=False",
    ]  # fmt: skip


def ours(shards: Path, out: Path, model: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "capivara_cli", "filter", str(shards), "--model", f"local-dir:{model}"]
    return [*command, "--out", str(out), "--device", "cpu", "--no-energy", *more]


def workers() -> int:
    return len(os.sched_getaffinity(0))


def run(command: list[str]) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory of a command and its children."""
    started = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL, timeout=AT_MOST
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.monotonic() - started
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1000}


def their_embeddings(out: Path) -> dict[str, np.ndarray]:
    """Those of images, by key."""
    import pyarrow.parquet

    found: dict[str, np.ndarray] = {}
    for path in sorted(out.glob("img_emb/*.npy")):
        table = pyarrow.parquet.read_table(
            out / "metadata" / path.with_suffix(".parquet").name.replace("img_emb", "metadata")
        )
        found |= zip(table["image_path"].to_pylist(), np.load(path).astype(np.float32), strict=True)
    return found


def our_embeddings(out: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for path in out.glob("*.tar"):
        with open(path, "rb") as stream:
            for sample in ShardReader(stream, path.name):
                found[sample.key] = np.load(io.BytesIO(sample.members["clip.npy"])).astype(np.float32)
    return found


def cosine(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The least of embeddings that belong together."""
    if one.keys() != other.keys():
        raise SystemExit(f"{len(one)} and {len(other)} images were embedded, not the same")
    return min(float(one[key] @ other[key] / np.linalg.norm(one[key]) / np.linalg.norm(other[key])) for key in one)


def measure(setup: Setup) -> Found:
    few, many = (4, 12) if setup.small else (64, 320)
    given = photos(setup)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        apart(make_model, str(folder / "model"))
        seen: dict[str, dict[int, dict[str, float]]] = {}
        for count in (few, many):
            shards = folder / f"shards-{count}"
            write_shards(shards, given, count)
            commands = {
                "clip-retrieval inference": theirs(shards, folder / f"theirs-{count}", folder / "model"),
                "capivara filter --precision fp32": ours(
                    shards, folder / f"fp32-{count}", folder / "model", "--precision", "fp32"
                ),
                "capivara filter": ours(shards, folder / f"ours-{count}", folder / "model"),
            }
            for way, command in commands.items():
                seen.setdefault(way, {})[count] = apart(run, command)
        near = cosine(their_embeddings(folder / f"theirs-{many}"), our_embeddings(folder / f"ours-{many}"))
    rows = [row(way, counts[few], counts[many], few, many) for way, counts in seen.items()]
    ratios = {
        f"{rows[0]['way']} / {each['way']}, {says}": rows[0][key] / each[key]
        for each in rows[1:]
        for key, says in (("image_ms", "time of an image"), ("start", "start"))
    }
    facts = {
        "many": many, "few": few, "images": described(setup), "model": MODEL, "batch": BATCH, "workers": workers(),
        "cosine": near,
    }  # fmt: skip
    return Found({"ways": rows}, ratios, facts, version_of("clip-retrieval", "clip-retrieval"))


def row(way: str, less: dict[str, float], more: dict[str, float], few: int, many: int) -> Row:
    image = (more["seconds"] - less["seconds"]) / (many - few)
    return {
        "way": f"`{way}`",
        "image_ms": 1000 * image,
        "cpu_ms": 1000 * (more["cpu"] - less["cpu"]) / (many - few),
        "rate": 1 / image,
        "start": less["seconds"] - few * image,
        "peak": more["peak"],
    }
