"""Compare two checkouts of capivara, which take turns: what a change costs.

python -m benchmarks.versions --before PATH [--after PATH] [--rounds N] [PART …]   prints a Markdown table

Parts: startup, stages over one sample; finished, a folder of 1,000 finished shards that is up to date; stream, reading
and writing samples (``benchmarks/peers/stream.py``), also beside webdataset; folder, ``split`` from folder to folder,
its samples unchanged; embed, a full-size CLIP (ViT-B-32) that embeds 64 images, 640 texts, or one of each. Seconds are
processor seconds of all threads, the median of the rounds; ``finished`` also in seconds that pass.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.results import ROOT
from benchmarks.peers.stream import make
from capivara_cli.reports import markdown

Measured = dict[str, float]
Part = Callable[[Path, Path, str], Measured]
SHARDS, LARGE, SAMPLES = 1000, 4, 1250

_STREAM = """
import json
from benchmarks.peers import stream
from benchmarks.peers.results import Setup
found = stream.measure(Setup())
(ours,) = [row["us"] for row in found.tables["ways"] if row["way"] == "capivara"]
times = found.ratios["webdataset / capivara"]
print(json.dumps({"stream, s per sample": ours * 1e-6, "stream, webdataset / capivara": times}))
"""
_MAKE = """
import json, sys
from pathlib import Path
import open_clip, torch
from safetensors.torch import save_file
config = open_clip.get_model_config("ViT-B-32")
folder = Path(sys.argv[1])
folder.mkdir()
save_file(open_clip.CustomTextCLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
(folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
"""
_EMBED = """
import json, sys, time
import numpy as np, torch
from capivara_cli.models.clip import load_clip
clip = load_clip(sys.argv[1])
generator = np.random.default_rng(0)
images = list(torch.from_numpy(generator.integers(0, 256, (64, 3, 224, 224), np.uint8)))
texts = [" ".join(["dog"] * length) for length in generator.integers(4, 30, 640)]
works = {
    "embedding 64 images": lambda: clip.embed_images(images),
    "embedding 640 texts": lambda: clip.embed_texts(texts),
    "embedding one image": lambda: clip.embed_images(images[:1]),
    "embedding one text": lambda: clip.embed_texts(texts[:1]),
}
found = {}
for name, work in works.items():
    work()
    began = time.process_time()
    work()
    found[name] = time.process_time() - began
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.versions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the version to compare with")
    parser.add_argument("--after", type=Path, default=ROOT, help="the other checkout; by default this one")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compared(
            given.parts or list(PARTS), given.before.resolve(), given.after.resolve(), given.rounds, folder
        )
    rows = [[name, f"{before:.4g}", f"{after:.4g}", f"{after / before:.3f}"] for name, (before, after) in found.items()]
    print(markdown.table(["", "before", "after", "after / before"], [False, True, True, True], rows))


def compared(parts: list[str], before: Path, after: Path, rounds: int, folder: str) -> dict[str, tuple[float, float]]:
    """The medians of all measures of both checkouts. A round before the first one compiles and caches what it reads."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for part in parts:
        for number in range(rounds + 1):
            for side, checkout in enumerate((before, after)):
                place = Path(folder, str(side))
                place.mkdir(exist_ok=True)
                for name, value in PARTS[part](checkout, place, folder).items():
                    if number:
                        found.setdefault(name, ([], []))[side].append(value)
    return {name: (statistics.median(one), statistics.median(other)) for name, (one, other) in found.items()}


def capivara(checkout: Path, folder: Path, *words: str) -> tuple[float, float, str]:
    """Run a command of a checkout; returns processor seconds, seconds, and what it said."""
    before, began = _children(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "capivara_cli", *words, "--no-energy"], cwd=folder, env=_environment(checkout),
        text=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{checkout}: capivara {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return _children() - before, time.monotonic() - began, done.stderr


def program(checkout: Path, text: str, *words: str) -> Measured:
    """What a program prints that imports a checkout."""
    done = subprocess.run(
        [sys.executable, "-c", text, *words], cwd=checkout, env=_environment(checkout), text=True, capture_output=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{checkout}: {done.stderr[-2000:]}")
    result: Measured = json.loads(done.stdout.splitlines()[-1])
    return result


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def startup(checkout: Path, place: Path, shared: str) -> Measured:
    """Two stages over one sample."""
    source = Path(shared, "one")
    if not source.exists():
        capivara(ROOT, Path(shared), "pack", "toy:1", "--out", "one")
    found = {}
    for name, words in (("split", ["--fraction", "0"]), ("filter", ["--rules", "length", "--no-score"])):
        found[f"startup, {name}"] = capivara(checkout, place, name, str(source), *words, "--out", f"one-{name}")[0]
        shutil.rmtree(place / f"one-{name}")
    return found


def finished(checkout: Path, place: Path, shared: str) -> Measured:
    """Asking again for a folder of a thousand shards that is finished."""
    source = Path(shared, "thousand")
    if not source.exists():
        source.mkdir()
        make(source / "00000.tar", 1)
        for number in range(1, SHARDS):
            shutil.copy(source / "00000.tar", source / f"{number:05d}.tar")
    words = ["split", "--fraction", "0", str(source), "--out", "thousand"]
    if not (place / "thousand").exists():
        capivara(checkout, place, *words)
    cpu, seconds, said = capivara(checkout, place, *words)
    if f"up to date ({SHARDS:,} shards)" not in said:
        raise SystemExit(f"{checkout}: not up to date: {said}")
    return {"1,000 finished shards": cpu, "1,000 finished shards, seconds that pass": seconds}


def stream(checkout: Path, place: Path, shared: str) -> Measured:
    """Reading and writing samples, ours and webdataset's."""
    return program(checkout, _STREAM)


def folder(checkout: Path, place: Path, shared: str) -> Measured:
    """``split`` that keeps every sample, from folder to folder."""
    source = Path(shared, "large")
    if not source.exists():
        source.mkdir()
        for number in range(LARGE):
            make(source / f"{number:05d}.tar", SAMPLES)
    cpu, _, _ = capivara(checkout, place, "split", "--fraction", "0", str(source), "--out", "large")
    shutil.rmtree(place / "large")
    return {"folder to folder, s per sample": cpu / LARGE / SAMPLES}


def embed(checkout: Path, place: Path, shared: str) -> Measured:
    """The towers of a full-size CLIP."""
    model = Path(shared, "clip")
    if not model.exists():
        subprocess.run([sys.executable, "-c", _MAKE, str(model)], check=True, env=_environment(ROOT))
    return program(checkout, _EMBED, str(model))


PARTS: dict[str, Part] = {
    "startup": startup, "finished": finished, "stream": stream, "folder": folder, "embed": embed,
}  # fmt: skip

if __name__ == "__main__":
    main()
