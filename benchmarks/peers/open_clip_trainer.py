"""open_clip's own training loop, ``open_clip_train.train.train_one_epoch``, beside ours, on the same batches.

Its image tower is locked (LiT); it gets ready tensors, so that decoding, which it does at every epoch, is not counted.
It cannot train less than the text tower, so ours is measured with ``--peft lit``, which trains the same, and with LoRA.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.peers.apart import apart
from benchmarks.peers.models import make_multilingual
from benchmarks.peers.results import Found, Row, Setup
from benchmarks.peers.train_step import COLUMNS as STEP_COLUMNS
from benchmarks.peers.train_step import Case, first_loss, images_of, ours, pad, result, rows_of

TITLE = "One training step, beside open_clip's trainer"
PACKAGES = ("open_clip_torch", "torch", "transformers", "peft")
COLUMNS = STEP_COLUMNS
TEXT = """
`open_clip_train.train.train_one_epoch` with the image tower locked (`--lock-image`), `xlm-roberta-base-ViT-B-32` at
full size with random weights, {batch} pairs of 16 tokens, which open_clip's tokenizer pads to 77. It gets ready
tensors, so its decoding of images in every epoch is not counted. Its loop cannot train less than the text tower.
`--peft lit` trains the same parameters on stored image embeddings; `--peft lora` is our default. Every case runs in a
process of its own on the same batches, median of {steps} steps after the first.

{cases}

{ratios}

The losses of the first batch before any training, without dropout: {losses}.
"""
CASES = {
    "theirs": Case("open_clip fp32", steps=3, says="open_clip, float32"),
    "theirs bf16": Case("open_clip amp_bf16", steps=3, says="open_clip, `--precision amp_bf16`"),
    "lit": Case("fp32", steps=3, peft="lit", says="ours, `--peft lit`, float32"),
    "lit bf16": Case("bf16", steps=3, peft="lit", says="ours, `--peft lit`, bf16"),
    "lora": Case("fp32", steps=3, says="ours, `--peft lora`, float32"),
    "lora bf16": Case("bf16", steps=3, says="ours, `--peft lora`, bf16"),
}


class Loader:
    """What the loop takes for a data loader; notes when a batch is asked for."""

    def __init__(self, case: Case) -> None:
        steps = range(case.steps + case.warm)
        self.batches = [(images_of(case, step), pad(rows_of(case, step), 77)) for step in steps]
        self.num_batches, self.num_samples = len(self.batches), case.batch * len(self.batches)
        self.asked: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            self.asked.append(time.perf_counter())
            yield batch
        self.asked.append(time.perf_counter())


def theirs(case: Case, folder: str) -> dict[str, Any]:
    import torch
    from open_clip import ClipLoss
    from open_clip_train.params import parse_args
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    from capivara_cli.models.clip import load_clip

    given = ["--model", "random", "--lock-image", "--batch-size", str(case.batch), "--lr", "1e-5", "--warmup", "250"]
    args = parse_args([*given, "--precision", case.recipe.split()[1]])
    vars(args).update(device="cpu", rank=0, local_rank=0, world_size=1, distill=False, wandb=False)
    model = load_clip(folder, device="cpu").model.requires_grad_(True)
    first = first_loss(model, case)
    model.output_dict = True
    with torch.no_grad():
        model.logit_scale.fill_(4.6052)
    model.lock_image_tower()
    optimizer = torch.optim.AdamW(decayed(model, args.wd), lr=args.lr, betas=(args.beta1, args.beta2), eps=args.eps)
    loader = Loader(case)
    data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
    scheduler = cosine_lr(optimizer, args.lr, args.warmup, 1500)
    torch.manual_seed(0)
    train_one_epoch(model, data, ClipLoss(), 0, optimizer, None, scheduler, None, args)
    seconds = [after - before for before, after in zip(loader.asked, loader.asked[1:], strict=False)]
    return result(case, seconds[case.warm :], first, case.batch * 77)


def decayed(model: Any, decay: float) -> list[dict[str, Any]]:
    """Its two groups: gains, biases and the temperature are not decayed."""
    named = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    spared = [each for name, each in named if each.ndim < 2 or "bn" in name or "ln" in name or "logit_scale" in name]
    ids = {id(each) for each in spared}
    others = [each for _, each in named if id(each) not in ids]
    return [{"params": spared, "weight_decay": 0.0}, {"params": others, "weight_decay": decay}]


def run(case: dict[str, Any], folder: str) -> dict[str, Any]:
    """A case, in the process that measures it."""
    asked = Case(**case)
    return theirs(asked, folder) if asked.recipe.startswith("open_clip") else ours(asked, folder)


def measure(setup: Setup) -> Found:
    cases = CASES
    if setup.small:
        cases = {name: replace(each, batch=8, steps=2) for name, each in CASES.items()}
    found: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as parent:
        folder = str(Path(parent, "model"))
        apart(make_multilingual, folder, ["a photo of a dog"])
        for name, case in cases.items():
            found[name] = apart(run, asdict(case), folder)
    pairs = (("theirs", "lit"), ("theirs bf16", "lit bf16"), ("theirs", "lora"), ("theirs bf16", "lora bf16"))
    ratios = {
        f"{cases[one].says} / {cases[other].says}": found[one]["seconds"] / found[other]["seconds"]
        for one, other in pairs
    }
    losses = ", ".join(f"{found[name]['loss']:.4f} ({case.says})" for name, case in cases.items())
    facts = {"batch": cases["lit"].batch, "steps": cases["lit"].steps, "losses": losses}
    return Found({"cases": list(found.values())}, ratios, facts)
