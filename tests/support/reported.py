"""A finished run to report on, as train and eval leave it, and the shards that led to it; small, nothing measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from support.made import a_sample, jpeg

from capivara_cli.evaluation import examples
from capivara_cli.evaluation.retrieval import retrieval
from capivara_cli.pipeline.options import build
from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.training.options import Options

EVIL = '<script>alert("1")</script>$x_1$\x07'
PACK = {"step": "pack", "options": {"lang": "en", "format": "auto"}, "seed": 0, "version": "0.1.0"}
FILTER = {"step": "filter", "options": {"model": "toy", "min_score": 0.2, "top_k": 1}, "seed": 0, "version": "0.1.0"}
HISTORY = [PACK, FILTER]
COLORS = [(220, 40, 40), (40, 180, 60), (50, 80, 220), (240, 220, 60)]


def a_run(folder: Path, seed: int = 0, **request: Any) -> Path:
    """A run without results: ``request`` are options of train that are not the defaults."""
    (folder / "adapter").mkdir(parents=True)
    defaults = build(Options, lang="pt").request
    asked = {**defaults, "model": "toy", "steps": 3, "lr": 0.01, "keep_lang": "en", **request, "seed": seed}
    document = {
        "name": folder.name,
        "request": asked,
        "base": {
            "source": {"model": "toy", "pretrained": ""},
            "identity": {"model": "toy", "weights": "sha256:1", "preprocess": "64 px"},
            "image": "sha256:1",
            "text": "sha256:2",
        },
        "data": {
            "samples": 4,
            "captions": {"en": 8, "pt": 4},
            "authors": [["pt", "toy:en-pt", 4]],
            "embedded_here": 0,
            "fingerprint": "sha256:3",
        },
        "batch": {"size": 4, "kept": 0, "warmup": 0, "precision": "fp32"},
        "objective": {"clip": 1.0},
        "logit_scale": 4.6,
        "history": HISTORY,
        "versions": {"capivara": "0.1.0"},
        "parameters": {
            "method": "lora",
            "targets": [],
            "trainable": 10,
            "total": 1000,
            "percent": 1.0,
            "parts": {},
        },
        "result": {
            "loss_first": 2.0,
            "loss_last": 0.7,
            "seconds": 1.0,
            "pairs_per_second": 100.0,
            "tokens": 9,
            "padded": 9,
            "peak_bytes": 2_000_000_000,
            "best_step": None,
            "val": None,
        },
        "adapter_sha256": "4",
        "step": 3,
        "finished": True,
    }
    (folder / "run.json").write_text(json.dumps(document))
    steps = [
        {
            "step": step,
            "loss": 2 / step + seed,
            "terms": {"clip": 1 / step, "drift": 0.1},
            "lr": 0.01 / step,
            "logit_scale": 4.6,
            "tokens": 3,
            "padded": 3,
            "timing": {"seconds": 0.1},
        }
        | ({"val": {"pt": 10.0 * step, "mean": 10.0 * step}} if step > 1 else {})
        for step in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    records = [a_record("shared", "pack", 0.5), a_record(f"train-{seed}", "train", 1.0)]
    (folder / "footprint.json").write_text(json.dumps({"records": records}))
    return folder


def a_record(name: str, stage: str, kwh: float) -> dict[str, Any]:
    zero = dict.fromkeys(["cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram"], 0.0)
    record = {"id": name, "stage": stage, "seconds": 60.0, "kwh": kwh, "co2e_g": 500 * kwh, "samples": 4, **zero}
    return {**record, "source": "modelled", "country": "world", "intensity": 500.0, "hardware": "unknown"}


def retrieval_row(model: str, lang: str, score: float, versus: dict[str, Any] | None = None) -> dict[str, Any]:
    recalls = {"R@1": score - 10, "R@5": score, "R@10": score + 10, "mean": score}
    return {
        "set": "toy",
        "split": "test",
        "lang": lang,
        "model": model,
        "n_images": 4,
        "n_captions": 4,
        "n_uncaptioned": 0,
        "text_to_image": recalls,
        "image_to_text": recalls,
        "median_rank": {"text_to_image": 1.0, "image_to_text": 2.5},
        "mean_recall": score,
        "interval": [score - 3, score + 3],
        "versus": versus,
        "variants": {},
        "machine_translated": lang == "xh",
        "queries_by": "",
        "prompt": "",
        "provenance": {
            "source": "https://example.org/toy",
            "licence": "CC BY 4.0",
            "obtained": "local copy",
            "checksums": {"captions.txt": "sha256:abc"},
            "captions_by": {"nllb" if lang == "xh" else "human": 4},
        },
    }


def classification_row(model: str, lang: str, score: float, versus: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "set": "elevater:pets",
        "split": "test",
        "lang": lang,
        "model": model,
        "mode": "zero-shot",
        "metric": "mean-per-class",
        "score": score,
        "interval": [score - 2, score + 2],
        "versus": versus,
        "n_images": 6,
        "n_classes": 2,
        "n_templates": 1,
        "top1": score + 1,
        "top5": None,
        "mean_per_class": score,
        "names_by": "CAPIVARA",
        "machine_translated": False,
        "queries_by": "",
        "confusion": {"names": ["gato", f"cão {EVIL}"], "counts": [[2, 1], [0, 3]]},
        "confused": [["gato", f"cão {EVIL}", 1]],
        "provenance": None,
    }


def versus(difference: float, p: float = 0.0004) -> dict[str, Any]:
    interval = [difference - 2, difference + 2]
    return {"model": "toy", "difference": difference, "interval": interval, "p": p / 2, "p_holm": p}


def evaluate(runs: Sequence[Path], scores: Sequence[float] = (60.0, 64.0)) -> None:
    """Write eval.json into every run: the base model has 40 in Portuguese, 80 in English and 20 in Xhosa."""
    rows: dict[str, list[dict[str, Any]]] = {"retrieval": [], "classification": [], "disparity": []}
    before = {"pt": 40.0, "en": 80.0, "xh": 20.0}
    changes = {"en": -1.0, "xh": -2.0}
    for lang, base in before.items():
        rows["retrieval"].append(retrieval_row("toy", lang, base))
        for run, score, p in zip(runs, scores, (0.0004, 0.02, 0.0004), strict=False):
            gain = changes.get(lang, score - base)
            p = p if lang == "pt" else 0.4
            rows["retrieval"].append(retrieval_row(f"runs/{run.name}", lang, base + gain, versus(gain, p)))
    rows["classification"].append(classification_row("toy", "pt", 50.0))
    rows["classification"] += [classification_row(f"runs/{run.name}", "pt", 55.5, versus(5.5)) for run in runs]
    for model, spread in [("toy", 60.0), *((f"runs/{run.name}", 61.0) for run in runs)]:
        gaps = {"pt": 80.0 - (40.0 if model == "toy" else 60.0), "xh": spread}
        row = {"set": "toy", "split": "test", "model": model, "score": "mean_recall", "languages": ["pt", "en", "xh"]}
        rows["disparity"].append(
            {**row, "mean": 46.7, "range": spread, "std": 24.9, "worst": "xh", "gap_to_english": gaps}
        )
        pets = {**row, "set": "elevater:pets", "score": "mean-per-class", "languages": ["pt", "en"]}
        numbers = {"mean": 50.0, "range": spread / 10, "std": 1.5, "worst": "pt", "gap_to_english": None}
        rows["disparity"].append({**pets, **numbers})
    for run in runs:
        (run / "eval.json").write_text(json.dumps(rows))


def photos() -> Iterator[Sample]:
    for row, color in enumerate(COLORS):
        yield Sample(f"k{row}", {"jpg": jpeg(color, (120, 90)) if row != 3 else b"no image"})


def with_examples(run: Path, models: Sequence[str] | None = None) -> None:
    """Four images and captions, found one place off by the base model; the fourth image cannot be decoded."""
    names = list(models or ["toy", f"runs/{run.name}"])
    angles = np.pi * np.arange(4) / 2
    right = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    asked = examples.QueryPool(
        "toy", "test", "pt", [f"texto {EVIL} {row}" for row in range(4)], range(4), [f"k{row}" for row in range(4)]
    )
    models = {}
    for name in names:
        texts = np.roll(right, 1, axis=0) if name == names[0] else right
        ranks = retrieval(right, texts, range(4))
        models[name] = examples.Answers(right, texts, ranks.text_ranks, ranks.image_ranks)
    entry = examples.pick(asked, models, found=1)
    examples.save(run / "examples", [entry], photos)


def caption(text: str, score: float | None = None, lang: str = "pt") -> Caption:
    return Caption(text, lang, "toy:en-pt" if lang == "pt" else "alt", None, score)


def write_shards(folder: Path, history: list[dict[str, Any]], samples: Sequence[Sample]) -> Path:
    folder.mkdir(parents=True)
    with open(folder / "00000.tar", "wb") as out:
        writer = ShardWriter(out, history)
        for sample in samples:
            writer.write(sample)
        writer.finish()
    return folder


def with_shards(run: Path) -> Path:
    """What ``capivara adapt`` leaves beside a run: packed images, and those that were trained on."""
    data = run.parent / f"{run.name.partition('-seed')[0]}-data"
    scores = {"bom": 0.5, "fraco": 0.3, "ruim": 0.1}
    full = [caption(text, score) for text, score in scores.items()]
    red, green = jpeg(COLORS[0]), jpeg(COLORS[1])
    write_shards(data / "packed", [PACK], [a_sample("a", *full, image=red), a_sample("b", caption(EVIL), image=green)])
    write_shards(
        data / "train", HISTORY, [a_sample("a", full[0], image=red), a_sample("b", caption(EVIL), image=green)]
    )
    return data


class Page(HTMLParser):
    """The text of each section (and of the header), the tags, and what the page refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.tags: list[str] = []
        self.links: list[str] = []
        self._section = ""
        self.html = path.read_text("utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "poster")]
        if tag in ("section", "header", "footer"):
            self._section = values.get("id") or tag

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = " ".join(f"{self.sections.get(self._section, '')} {data}".split())
