"""A simulation of 100 million images on 64 GPUs: time, cost, storage, and the bottleneck.

python -m benchmarks.simulate            prints docs/simulation.md
python -m benchmarks.simulate --write    writes it

Shards of 1,000 samples are claimed by 64 workers, as ``capivara run`` does on a shared folder. Every stage needs its
GPU, its share of the processor cores and of the shared file system at the same time, so the scarcest decides. Workers
die at random, and free workers do their unfinished shards again. Rates: MEASURED and ASSUMED below.
"""

from __future__ import annotations

import heapq
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.results import kept

PAGE = Path(__file__).parents[1] / "docs" / "simulation.md"
IMAGES = 100_000_000
SHARD = 1_000
GPUS = 64

_PASS_US = kept("stream")["tables"]["ways"][0]["us"]
_TRANSLATED = kept("translate")
MEASURED = {
    "image_bytes": (53_000, "mean JPEG of CC3M's size, as in benchmarks/peers/stream.py"),
    "caption_bytes": (121, "one caption of 12 words with its five keys, as in benchmarks/peers/text_stage.py"),
    "embedding_bytes": (1_152, "clip.npy, 512 numbers of float16 with numpy's header"),
    "pass_us": (_PASS_US, "µs of a core to read and write a sample (docs/benchmarks.md, reading and writing shards)"),
    "text_us": (
        round(kept("text_stage")["tables"]["stages"][0]["us"] - _PASS_US, 1),
        "µs of a core beyond that for a text stage with 11 captions (docs/benchmarks.md, text stages)",
    ),
    "translate_core": (
        round(_TRANSLATED["tables"]["large"][1]["rate"] / _TRANSLATED["hardware"]["cores"], 1),
        "captions/s of a core, 6 + 6 layers, int8, beam 4 (docs/benchmarks.md, translating)",
    ),
    "distinct": (
        round(_TRANSLATED["facts"]["distinct"] / _TRANSLATED["facts"]["captions"], 3),
        "share of captions that are distinct and so translated (docs/benchmarks.md, translating)",
    ),
}
ASSUMED = {
    "caption_gpu": (
        50.0,
        "images/s of a GPU, ten captions each, BLIP-2 OPT 2.7B: 1.65 TFLOP by count, 80 of them a second",
    ),
    "translate_gpu": (5_000.0, "captions/s of a GPU, CTranslate2, float16, beam 4"),
    "embed_gpu": (2_000.0, "images/s of a GPU, ViT-B/32 with the texts of 22 captions"),
    "train_gpu": (11_000.0, "captions/s of a GPU, forward and backward of the text tower, 20 tokens, 80 TFLOP/s"),
    "pairs_gpu": (80e12, "FLOP/s of a GPU in the blocked products of dedupe --images embedding"),
    "decode_core": (700.0, "images/s of a core, JPEG to 224 pixels (a 640 × 480 JPEG took 1 to 2.4 ms here, one core)"),
    "cores": (12.0, "processor cores for each GPU"),
    "read_gbs": (10.0, "GB/s that all machines together read from the shared file system"),
    "write_gbs": (5.0, "GB/s that they write"),
    "captions": (11, "captions per image before translation: the alt text and ten made ones"),
    "mtbf_hours": (1_000.0, "hours between failures of one worker"),
    "restart_s": (300.0, "seconds from a failure until the worker has its models loaded again"),
    "startup_s": (60.0, "seconds to start a stage and load its models"),
    "spread": (0.15, "standard deviation of the time of a shard, as a share of it"),
    "dollars": (2.0, "US$ per GPU hour with its cores"),
    "store_dollars": (0.02, "US$ per GB and month of storage"),
    "watts": (550.0, "W per GPU with its share of the machine and the cooling"),
    "grams": (475.0, "g CO2e per kWh, world average"),
}
World = dict[str, float]


@dataclass(frozen=True)
class Pass:
    """One stage over all shards: what one sample needs of each resource."""

    name: str
    gpu_s: float
    core_s: float
    read: float
    written: float


def world(**changed: float) -> World:
    return {name: value for name, (value, _) in {**MEASURED, **ASSUMED}.items()} | changed


def passes(w: World) -> list[Pass]:
    """The chain of the paper: caption, translate to one language, embed, score, filter, remove equal images."""
    us = 1e-6
    sample = w["image_bytes"]
    captioned = sample + w["captions"] * w["caption_bytes"]
    translated = sample + 2 * w["captions"] * w["caption_bytes"]
    scored = translated + w["embedding_bytes"]
    moved, text = w["pass_us"] * us, w["text_us"] * us
    decoded = 1 / w["decode_core"]
    translating = w["captions"] * w["distinct"] / w["translate_gpu"]
    return [
        Pass("caption", 1 / w["caption_gpu"], moved + text + decoded, sample, captioned),
        Pass("translate", translating, moved + text, captioned, translated),
        Pass("filter", 1 / w["embed_gpu"], moved + text + decoded, translated, scored),
        Pass("dedupe: survey", 0.0, moved, scored, w["embedding_bytes"]),
        Pass("dedupe: apply", 0.0, moved + text, scored, 0.9 * scored),
    ]


def fused(w: World) -> Pass:
    """``capivara run 'caption | translate | filter'``: one process, the shards read once and written once."""
    steps = passes(w)[:3]
    core_s = sum(step.core_s for step in steps) - 2 * w["pass_us"] * 1e-6
    return Pass(
        "caption, translate, filter", sum(step.gpu_s for step in steps), core_s, steps[0].read, steps[-1].written
    )


def needs(step: Pass, w: World, workers: int) -> dict[str, float]:
    """Seconds per sample that one worker would need if only this resource were scarce."""
    return {
        "GPU": step.gpu_s,
        "cores": step.core_s / w["cores"],
        "reading": step.read * workers / (w["read_gbs"] * 1e9),
        "writing": step.written * workers / (w["write_gbs"] * 1e9),
    }


def simulated(step: Pass, w: World, workers: int, shards: int, seed: int = 0) -> tuple[float, int]:
    """Seconds until the last shard of a pass is done, and how many were begun again after a failure."""
    source = random.Random(seed)
    service = max(needs(step, w, workers).values()) * SHARD
    free = [(w["startup_s"], worker) for worker in range(workers)]
    dies = [source.expovariate(1 / (w["mtbf_hours"] * 3600)) for _ in range(workers)]
    left, again, last = shards, 0, 0.0
    heapq.heapify(free)
    while left:
        now, worker = heapq.heappop(free)
        end = now + service * max(0.2, source.gauss(1.0, w["spread"]))
        if dies[worker] < end:  # the shard goes back to the others, and the worker comes back later
            again += 1
            back = max(now, dies[worker]) + w["restart_s"]
            dies[worker] = back + source.expovariate(1 / (w["mtbf_hours"] * 3600))
            heapq.heappush(free, (back, worker))
            continue
        left -= 1
        last = max(last, end)
        heapq.heappush(free, (end, worker))
    return last, again


def pairs_hours(w: World, workers: int) -> float:
    """Hours of the reduce of ``dedupe --images embedding``, exact: all pairs, 512 numbers, halved by symmetry."""
    return IMAGES**2 * 512 / (w["pairs_gpu"] * workers) / 3600


def total_hours(w: World, workers: int = GPUS) -> float:
    """Hours of the fused pass and both of dedupe, without random failures."""
    steps = [fused(w), *passes(w)[3:]]
    return sum(max(needs(step, w, workers).values()) * IMAGES / workers for step in steps) / 3600 + pairs_hours(
        w, workers
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def of_passes(w: World) -> str:
    rows = []
    for step in [*passes(w)[:3], fused(w), *passes(w)[3:]]:
        seconds, again = simulated(step, w, GPUS, IMAGES // SHARD)
        need = needs(step, w, GPUS)
        scarce = max(need, key=lambda name: need[name])
        load = [f"{value / need[scarce]:.0%}" for value in need.values()]
        rate = IMAGES / seconds
        rows.append([step.name, f"{seconds / 3600:.1f}", f"{rate:,.0f}", str(again), *load, f"**{scarce}**"])
    header = [
        "pass",
        "hours",
        "images/s",
        "shards begun again",
        "GPU",
        "cores",
        "reading",
        "writing",
        "exhausted first",
    ]
    return table(header, rows)


def of_costs(w: World) -> str:
    rows = []
    ways = {"one pass for three stages, dedupe": [fused(w), *passes(w)[3:]], "every stage by itself, dedupe": passes(w)}
    for name, steps in ways.items():
        hours = sum(simulated(step, w, GPUS, IMAGES // SHARD)[0] for step in steps) / 3600 + pairs_hours(w, GPUS)
        kwh = hours * GPUS * w["watts"] / 1000
        kept = sum(step.written for step in steps) * IMAGES / 1e9 + w["image_bytes"] * IMAGES / 1e9
        cells = [f"{hours:.1f}", f"{hours * GPUS:,.0f}", f"{hours * GPUS * w['dollars']:,.0f}", f"{kwh:,.0f}"]
        cells += [f"{kwh * w['grams'] / 1e6:.1f}", f"{kept / 1000:.1f}", f"{kept * w['store_dollars']:,.0f}"]
        rows.append([name, *cells])
    return table(
        ["way", "hours", "GPU hours", "US$", "kWh", "t CO2e", "TB with the input", "US$ a month to keep"], rows
    )


def of_sensitivity(w: World) -> str:
    base = total_hours(w)
    rows = []
    for name in (
        "caption_gpu",
        "translate_gpu",
        "embed_gpu",
        "decode_core",
        "cores",
        "read_gbs",
        "write_gbs",
        "pass_us",
    ):
        half, double = (total_hours(world(**{name: w[name] * factor})) for factor in (0.5, 2.0))
        rows.append([f"`{name}`", f"{half:.1f} ({half / base - 1:+.0%})", f"{double:.1f} ({double / base - 1:+.0%})"])
    return table(["parameter", "hours at half of it", "hours at twice"], rows)


def of_scale(w: World) -> str:
    rows = []
    for workers in (8, 64, 256, 1024, 4096):
        need = needs(fused(w), w, workers)
        scarce = max(need, key=lambda name: need[name])
        hours = total_hours(w, workers)
        efficiency = total_hours(w, 8) * 8 / (hours * workers)
        rows.append([f"{workers:,}", f"{hours:,.1f}", f"{efficiency:.0%}", scarce])
    return table(["GPUs", "hours", "of the speed per GPU with 8", "the fused pass exhausts first"], rows)


def of_failures(w: World) -> str:
    rows = []
    for hours in (10_000.0, 1_000.0, 100.0, 10.0):
        seconds, again = simulated(fused(w), {**w, "mtbf_hours": hours}, GPUS, IMAGES // SHARD)
        rows.append([f"{hours:,.0f}", f"{seconds / 3600:.2f}", f"{again:,}"])
    return table(["hours between failures of a worker", "hours of the fused pass", "shards begun again"], rows)


def page() -> str:
    w = world()
    scarcest = max(passes(w)[:3], key=lambda step: max(needs(step, w, GPUS).values()))
    minutes = IMAGES / w["train_gpu"] / GPUS / 60
    reduce = f"{pairs_hours(w, GPUS):.2f} h"
    parameters = [
        [f"`{name}`", f"{value:,g}", kind, what]
        for kind, group in (("measured", MEASURED), ("**assumed**", ASSUMED))
        for name, (value, what) in group.items()
    ]
    return f"""# 100 million images on 64 GPUs: a simulation

Nothing here was run at this size. `python -m benchmarks.simulate --write` makes this page from rates. Our benchmarks
measured those of processors, on two cores. **Those of GPUs, networks and prices are assumptions**, since we had no GPU.
You can change them at the top of that file.

## What it says

`{scarcest.name}` takes most of the time: its GPU is the bottleneck by far, while reading and writing shards, decoding
and the text stages are idle. The reduce of `dedupe --images embedding`, all pairs exactly, takes {reduce} on {GPUS}
GPUs.
An epoch of training the text tower on one caption of each image would take {minutes:.0f} minutes more, if it divided as
well.

{of_passes(w)}
Percentages say how busy a resource is while the scarcest of the pass is busy all the time. The fourth row is the first
three in one process, `capivara run 'caption | translate | filter'`.

{of_costs(w)}
Hours are from the first image to the last, all {GPUS} GPUs paid for all of them, also where `dedupe` needs none.

## What it depends on

One parameter at half and at twice its value, the others as they are: {total_hours(w):.1f} h without changes, failures
and the wait for the last shards left out.

{of_sensitivity(w)}
## Where it stops scaling

{of_scale(w)}
Beyond that GPUs wait for the shared file system. Shards on local disks or in an object store move that limit.

## Failures

A worker that dies loses its current shard, which another one claims. That batches kept in the journal save most of it
is left out.

{of_failures(w)}
## Parameters

{table(["parameter", "value", "", "source"], parameters)}
Left out: downloading the images, queues of the cluster, machines slower than others, the time of the file system for
100,000 claims (milliseconds each), the memory of the reduce, and evaluation.
"""


def main() -> None:
    text = page()
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text, "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
