"""One training step: the original recipe and ours, on the same batches, each in a process of its own.

The original recipe, described in our own words: captions padded to 77 tokens, the frozen image tower run at every step,
gradient checkpointing, float32, peft's LoRA (r 8, query and value) and the projection, Adam with an L2 penalty.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.apart import apart, peak_mb
from benchmarks.peers.models import BEGIN, END, PAD, make_multilingual
from benchmarks.peers.results import Found, Row, Setup

TITLE = "One training step, beside the original recipe"
PACKAGES = ("torch", "transformers", "peft")
COLUMNS = {
    "cases": {
        "says": ("", ""),
        "seconds": ("s/step", ".3f"),
        "real": ("real tokens", ",d"),
        "padded": ("padded", ",d"),
        "ms": ("ms/token", ".3f"),
        "peak_gb": ("peak GB", ".2f"),
    }
}
TEXT = """
`xlm-roberta-base-ViT-B-32` at full size with random weights; LoRA on query and value and the projection are trained.
The original recipe, in our own words: captions padded to 77 tokens, the frozen image tower run at every step, gradient
checkpointing, float32. Ours: stored image embeddings, captions in chunks of similar length. Every case runs in a
process of its own on the same batches, {batch} pairs of 16 tokens, and {large} of 6 to 40; median of 3 to 5 steps
after the first one or two; peak resident memory with the model's construction (GB are 10⁹ bytes).

{cases}

{ratios}

With `--memory 2.5GB`, {recomputed} chunks are computed twice. The losses of the first batch before any
training, without dropout: {loss_original:.4f} by the original, {loss_fp32:.4f} by ours in float32, {loss_bf16:.4f} in
bfloat16. The peaks of the 16-token cases include the image tower, which makes their image vectors here.
`torch.compile` is off; nothing here was measured on a GPU. What it learns:
[toy-world.md](toy-world.md#training-compared) has the plain padded recipe and this one side by side.
"""
WORDS = 40_000


@dataclass(frozen=True)
class Case:
    """What is measured: ``recipe``, pairs per step, captions of 16 tokens or of realistic lengths, a memory limit,
    what learns (capivara's ``--peft``)."""

    recipe: str
    batch: int = 32
    realistic: bool = False
    memory: str = ""
    steps: int = 5
    peft: str = "lora"
    says: str = ""

    @property
    def warm(self) -> int:
        """Steps that are not counted: the first touches the memory, and large batches bring new shapes for a while."""
        return 2 if self.realistic else 1


CASES = {
    "original": Case("original", steps=3, says="original recipe"),
    "fp32": Case("fp32", says="ours, float32"),
    "bf16": Case("bf16", says="ours, bf16 frozen weights"),
    "long": Case("bf16", 1000, True, steps=3, says="ours, bf16, realistic lengths, memory free"),
    "tight": Case("bf16", 1000, True, "2.5GB", steps=3, says="the same with `--memory 2.5GB`"),
}


def rows_of(case: Case, step: int) -> list[np.ndarray]:
    """Token rows of a batch: the same for every recipe."""
    generator = np.random.default_rng((1, step))
    lengths = np.full(case.batch, 16)
    if case.realistic:
        lengths = np.clip(np.rint(generator.lognormal(np.log(14.2), 0.33, case.batch)), 6, 40).astype(int)
    return [
        np.concatenate([[BEGIN], generator.integers(4, WORDS, length - 2), [END]]).astype(np.int32)
        for length in lengths
    ]


def images_of(case: Case, step: int) -> Any:
    import torch

    return torch.randn(case.batch, 3, 224, 224, generator=torch.Generator().manual_seed(step))


def pad(rows: list[np.ndarray], width: int = 0) -> Any:
    import torch

    tokens = np.full((len(rows), width or max(len(row) for row in rows)), PAD, np.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    return torch.from_numpy(tokens)


def loss_of(images: Any, texts: Any) -> float:
    """The contrastive loss of features at a temperature of 0.01, without gradient."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        logits = 100 * functional.normalize(images, dim=-1) @ functional.normalize(texts, dim=-1).T
        labels = torch.arange(len(logits))
        return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)).item() / 2


def first_loss(model: Any, case: Case) -> float:
    """Of the first batch, padded, before anything is learnt and without dropout."""
    import torch

    model.eval()
    with torch.no_grad():
        images = model.visual(images_of(case, 0))
        return loss_of(images, model.text(pad(rows_of(case, 0), 77)))


def original(case: Case, folder: str) -> dict[str, Any]:
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional as F  # noqa: N812

    from capivara_cli.models.clip import load_clip

    model = load_clip(folder, device="cpu").model
    first = first_loss(model, case)
    text, images = model.text, model.visual
    torch.manual_seed(0)
    text.transformer.gradient_checkpointing_enable()
    config = LoraConfig(r=8, lora_alpha=8, target_modules=["query", "value"], modules_to_save=["proj"], bias="none")
    text = get_peft_model(text.requires_grad_(False), config).train()
    scale = torch.nn.Parameter(torch.tensor(4.6052))
    parameters = [each for each in text.parameters() if each.requires_grad] + [scale]
    optimizer = torch.optim.Adam(parameters, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    seconds = []
    for step in range(case.steps + 1):
        tokens, pixels = pad(rows_of(case, step), 77), images_of(case, step)
        began = time.perf_counter()
        optimizer.zero_grad()
        with torch.no_grad():
            seen = F.normalize(images(pixels), dim=-1)
        logits = scale.exp() * seen @ F.normalize(text(tokens), dim=-1).T
        labels = torch.arange(len(logits))
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        loss.backward()
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - began)
    return result(case, seconds[1:], first, case.batch * 77)


def ours(case: Case, folder: str) -> dict[str, Any]:
    import torch
    from torch import nn

    from capivara_cli.models.adapters.methods import tune
    from capivara_cli.models.adapters.tuning import Tuning
    from capivara_cli.models.clip import load_clip
    from capivara_cli.models.precision import precision
    from capivara_cli.pipeline.options import build
    from capivara_cli.training.compact_tower import save_memory
    from capivara_cli.training.devices import Devices
    from capivara_cli.training.encoder import Encoder
    from capivara_cli.training.loop import Trainer, TrainerInputs
    from capivara_cli.training.memory import Budget, parse_size, shrink_onednn_cache
    from capivara_cli.training.objective import ImageText, Objective
    from capivara_cli.training.options import Options

    if case.memory:
        shrink_onednn_cache()
    clip = load_clip(folder, device="cpu")
    batches: Any = Drawn(case, Path(folder), clip.model.visual)
    clip.model.visual = nn.Identity()
    torch.manual_seed(0)
    clip.model.text = tune(clip.model.text, Tuning(case.peft), "random").train()
    number = precision("bf16" if case.recipe == "bf16" else "fp32", "cpu", clip.model.text)
    save_memory(clip.model.text, [np.arange(WORDS)], number)
    with torch.no_grad():
        clip.model.logit_scale.fill_(4.6052)
    encoder = Encoder(clip, number, Budget("cpu", parse_size(case.memory)), Devices(device="cpu"))
    encoder.measure_memory(sorted(batches.data.store.rows(np.arange(case.batch)), key=len, reverse=True)[:256])
    options = build(Options, checkpoint_every=0)
    first = None if case.realistic else first_of(encoder, batches, case)  # would be the peak of a large batch
    trainer = Trainer(TrainerInputs(clip, encoder, batches, Objective((ImageText(),))), options, 0, None)  # type: ignore[arg-type]
    lines = [trainer._step(step) for step in range(case.steps + case.warm)]
    found = result(case, [line["timing"]["seconds"] for line in lines[case.warm :]], first, lines[1]["padded"])
    return {**found, "recomputed": lines[1]["timing"]["recomputed"]}


def first_of(encoder: Any, batches: Any, case: Case) -> float:
    """``first_loss`` by our encoder and the embeddings that are kept."""
    import torch

    ids = np.arange(case.batch)
    encoder.tower.eval()
    with torch.no_grad():
        texts = encoder(batches.data.store.rows(ids), (0,)).features
    encoder.tower.train()
    return loss_of(torch.from_numpy(np.asarray(batches.data.store.images[ids, 0], np.float32)), texts)


class Drawn:
    """Batches whose captions are ``rows_of`` and whose images are those that the original encodes (random vectors for
    large batches), in the form of a feature store."""

    def __init__(self, case: Case, folder: Path, tower: Any) -> None:
        from capivara_cli.training.data import TrainingData
        from capivara_cli.training.store import FeatureStore

        steps = case.steps + case.warm
        rows = [row for step in range(steps) for row in rows_of(case, step)]
        bounds, none = np.cumsum([0, *map(len, rows)]), np.zeros(0, np.int64)
        images = np.concatenate([self._images(case, step, tower) for step in range(steps)])
        store = FeatureStore(
            folder, {}, images.astype(np.float16)[:, None], none, none, np.concatenate(rows), bounds,
            none, none, none, none, none, none, none, none,
        )  # fmt: skip
        self.data: Any = TrainingData(store, None, None, None, None)  # type: ignore[arg-type]
        self.size = case.batch

    @staticmethod
    def _images(case: Case, step: int, tower: Any) -> np.ndarray:
        if case.realistic:
            return np.random.default_rng(step).normal(size=(case.batch, 512))
        import torch

        with torch.inference_mode():
            return tower(images_of(case, step)).numpy()

    def draw(self, step: int) -> Any:
        from capivara_cli.training.data import Batch

        ids = np.arange(step * self.size, (step + 1) * self.size)
        return Batch(ids, ids[None], np.full_like(ids[None], -1), np.zeros_like(ids), 0)


def result(case: Case, seconds: list[float], loss: float | None, padded: int) -> dict[str, Any]:
    real = sum(len(row) for row in rows_of(case, 1))
    taken = statistics.median(seconds)
    return {
        "says": f"{case.says}, batch {case.batch}",
        "seconds": taken,
        "real": real,
        "padded": padded,
        "ms": 1000 * taken / real,
        "peak_gb": peak_mb() / 1e3,
        "loss": loss,
    }


def run(case: dict[str, Any], folder: str) -> dict[str, Any]:
    """A case, in the process that measures it."""
    asked = Case(**case)
    return original(asked, folder) if asked.recipe == "original" else ours(asked, folder)


def measure(setup: Setup) -> Found:
    cases = CASES
    if setup.small:
        cases = {name: replace(each, batch=min(each.batch, 64) // 4, steps=2) for name, each in CASES.items()}
    found: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as parent:
        folder = str(Path(parent, "model"))
        apart(make_multilingual, folder, ["a photo of a dog"])
        for name, case in cases.items():
            found[name] = apart(run, asdict(case), folder)
    ratios = {
        f"original / ours, {says}, seconds": found["original"]["seconds"] / found[name]["seconds"]
        for name, says in (("fp32", "float32"), ("bf16", "bf16"))
    }
    ratios["realistic lengths / 16 tokens, ours, time of a token"] = found["long"]["ms"] / found["bf16"]["ms"]
    ratios["within 2.5 GB / memory free, seconds"] = found["tight"]["seconds"] / found["long"]["seconds"]
    facts = {
        "batch": cases["fp32"].batch, "large": cases["long"].batch, "recomputed": found["tight"]["recomputed"],
        "loss_original": found["original"]["loss"], "loss_fp32": found["fp32"]["loss"],
        "loss_bf16": found["bf16"]["loss"],
    }  # fmt: skip
    return Found({"cases": list(found.values())}, ratios, facts)
