"""One training step: the original recipe and ours, on the same batches, each in a process of its own.

    python benchmarks/train_step.py            # all of it: about 15 minutes on two cores
    python benchmarks/train_step.py --only original,fp32,bf16
    python benchmarks/train_step.py --device cuda --batch 1000

The model is xlm-roberta-base-ViT-B-32 at full size with random weights: speed and memory need no trained ones. The
original recipe, described in our own words: captions padded to 77 tokens, the frozen image tower run at every step,
gradient checkpointing, float32, peft's LoRA (r 8, query and value) and the projection, Adam with an L2 penalty.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY, PAD, BEGIN, END = 250_002, 1, 0, 2
CONFIG = {
    "model_type": "xlm-roberta", "vocab_size": VOCABULARY, "hidden_size": 768, "num_hidden_layers": 12,
    "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 514, "type_vocab_size": 1,
    "layer_norm_eps": 1e-5, "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END,
}  # fmt: skip
WORDS = 40_000


@dataclass(frozen=True)
class Case:
    """What is measured: ``recipe``, pairs per step, captions of 16 tokens or of realistic lengths, a memory limit."""

    recipe: str
    batch: int = 32
    realistic: bool = False
    memory: str = ""
    steps: int = 5
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
    "tight": Case("bf16", 1000, True, "2.5GB", steps=3, says="the same within 2.5 GB"),
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


def make_model(folder: Path) -> None:
    """The model with random weights as an open_clip folder, once: every recipe starts from the same ones."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    words = models.WordLevel({"<s>": BEGIN, "<pad>": PAD, "</s>": END, "<unk>": 3}, unk_token="<unk>")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="<pad>").save_pretrained(folder)
    text = {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder), "hf_proj_type": "mlp",
            "hf_pooler_type": "mean_pooler", "hf_model_pretrained": False}  # fmt: skip
    vision = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(embed_dim=512, vision_cfg=vision, text_cfg=text)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    described = {"model_cfg": {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))


def images_of(case: Case, step: int, device: str) -> Any:
    import torch

    return torch.randn(case.batch, 3, 224, 224, generator=torch.Generator().manual_seed(step)).to(device)


def pad(rows: list[np.ndarray], width: int = 0) -> Any:
    import torch

    tokens = np.full((len(rows), width or max(len(row) for row in rows)), PAD, np.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    return torch.from_numpy(tokens)


def original(case: Case, folder: Path, device: str) -> dict[str, Any]:
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional as F  # noqa: N812

    from capivara_cli.clip import load_clip

    model = load_clip(str(folder), device=device).model
    text, images = model.text, model.visual.to(device)
    torch.manual_seed(0)
    text.transformer.gradient_checkpointing_enable()
    config = LoraConfig(r=8, lora_alpha=8, target_modules=["query", "value"], modules_to_save=["proj"], bias="none")
    text = get_peft_model(text.requires_grad_(False), config).train()
    scale = torch.nn.Parameter(torch.tensor(4.6052, device=device))
    parameters = [each for each in text.parameters() if each.requires_grad] + [scale]
    optimizer = torch.optim.Adam(parameters, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    seconds, losses = [], []
    for step in range(case.steps + 1):
        tokens, pixels = pad(rows_of(case, step), 77).to(device), images_of(case, step, device)
        began = time.perf_counter()
        optimizer.zero_grad()
        with torch.no_grad():
            seen = F.normalize(images(pixels), dim=-1)
        logits = scale.exp() * seen @ F.normalize(text(tokens), dim=-1).T
        labels = torch.arange(len(logits), device=device)
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - began)
    return result(case, seconds[1:], losses, case.batch * 77, device)


def ours(case: Case, folder: Path, device: str) -> dict[str, Any]:
    import torch
    from torch import nn

    from capivara_cli.clip import load_clip
    from capivara_cli.precision import precision
    from capivara_cli.training.devices import Devices
    from capivara_cli.training.encoder import Encoder
    from capivara_cli.training.lean import lean
    from capivara_cli.training.loop import Parts, Recipe, Trainer
    from capivara_cli.training.memory import Budget, parse_size
    from capivara_cli.training.objective import ImageText, Objective
    from capivara_cli.training.tuning import Tuning, tune

    clip = load_clip(str(folder), device=device)
    batches: Any = Drawn(case, folder, device, clip.model.visual)
    clip.model.visual = nn.Identity()
    torch.manual_seed(0)
    clip.model.text = tune(clip.model.text, Tuning(), "random").train()
    number = precision("bf16" if case.recipe == "bf16" else "fp32", device, clip.model.text)
    lean(clip.model.text, [np.arange(WORDS)], number)
    with torch.no_grad():
        clip.model.logit_scale.fill_(4.6052)
    encoder = Encoder(clip, number, Budget(device, parse_size(case.memory)), Devices(device=device))
    encoder.settle(sorted(batches.data.store.rows(np.arange(case.batch)), key=len, reverse=True)[:256])
    recipe = Recipe(
        steps=1500, lr=1e-5, min_lr=1e-6, warmup=250, optimizer="adamw", weight_decay=0.2, learn_temperature=True,
        live_anchors=False, ema=0.0, val_every=0, patience=0, checkpoint_every=0, seed=0,
    )  # fmt: skip
    trainer = Trainer(Parts(clip, encoder, batches, Objective((ImageText(),))), recipe, None)  # type: ignore[arg-type]
    lines = [trainer._step(step) for step in range(case.steps + case.warm)]
    found = result(
        case, [line["timing"]["seconds"] for line in lines[case.warm :]], [line["loss"] for line in lines],
        lines[1]["padded"], device,
    )  # fmt: skip
    return {**found, "recomputed": lines[1]["timing"]["recomputed"]}


class Drawn:
    """Batches whose captions are ``rows_of`` and whose images are those that the original encodes (random vectors for
    large batches), in the form of a feature store."""

    def __init__(self, case: Case, folder: Path, device: str, tower: Any) -> None:
        from capivara_cli.training.data import TrainingData
        from capivara_cli.training.store import Store

        steps = case.steps + case.warm
        rows = [row for step in range(steps) for row in rows_of(case, step)]
        bounds, none = np.cumsum([0, *map(len, rows)]), np.zeros(0, np.int64)
        images = np.concatenate([self._images(case, step, device, tower) for step in range(steps)])
        store = Store(
            folder, {}, images.astype(np.float16)[:, None], none, none, np.concatenate(rows), bounds,
            none, none, none, none, none, none, none, none,
        )  # fmt: skip
        self.data: Any = TrainingData(store, None, None, None, None)  # type: ignore[arg-type]
        self.size = case.batch

    @staticmethod
    def _images(case: Case, step: int, device: str, tower: Any) -> np.ndarray:
        if case.realistic:
            return np.random.default_rng(step).normal(size=(case.batch, 512))
        import torch

        with torch.inference_mode():
            return tower.to(device)(images_of(case, step, device)).cpu().numpy()

    def draw(self, step: int) -> Any:
        from capivara_cli.training.data import Batch

        ids = np.arange(step * self.size, (step + 1) * self.size)
        return Batch(ids, ids[None], np.full_like(ids[None], -1), np.zeros_like(ids), 0)


def result(case: Case, seconds: list[float], losses: list[float], padded: int, device: str) -> dict[str, Any]:
    from capivara_cli.training.memory import peak_bytes

    real = sum(len(row) for row in rows_of(case, 1))
    return {
        "seconds": statistics.median(seconds),
        "real": real,
        "padded": padded,
        "peak_gb": peak_bytes(device) / 1e9,
        "loss": losses[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=0, help="pairs per step, for every case")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case = Case(**json.loads(arguments.case))
        measure = original if case.recipe == "original" else ours
        print(json.dumps(measure(case, Path(arguments.folder), arguments.device)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder) / "model")


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Every case in a process of its own, one after the other."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "THP_MEM_ALLOC_ENABLE": "1"}
    made = "import sys, pathlib, train_step; train_step.make_model(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", made, str(folder)], check=True, cwd=Path(__file__).parent, env=environment)
    found: dict[str, dict[str, Any]] = {}
    print(f"{'':45}{'s/step':>9}{'tokens':>8}{'padded':>8}{'ms/token':>10}{'peak GB':>9}{'loss':>8}")
    for name in arguments.only.split(","):
        case = CASES[name]
        wanted = json.dumps({**vars(case), **({"batch": arguments.batch} if arguments.batch else {})})
        command = [sys.executable, __file__, "--case", wanted, "--device", arguments.device, "--folder", str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        line = found[name] = json.loads(done.stdout.splitlines()[-1])
        per_token = 1000 * line["seconds"] / line["real"]
        print(
            f"{case.says:45}{line['seconds']:9.3f}{line['real']:8,}{line['padded']:8,}{per_token:10.3f}"
            f"{line['peak_gb']:9.2f}{line['loss']:8.3f}"
            + (f"  {line['recomputed']} chunks twice" if line.get("recomputed") else ""),
            flush=True,
        )
    ratios(found)


def ratios(found: dict[str, dict[str, Any]]) -> None:
    for name in ("fp32", "bf16"):
        if name in found and "original" in found:
            print(f"{CASES[name].says}: {found['original']['seconds'] / found[name]['seconds']:.1f} x the original")
    for name in ("long", "tight"):
        if name in found and "bf16" in found:
            cost, reference = (found[each]["seconds"] / found[each]["real"] for each in (name, "bf16"))
            print(f"{CASES[name].says}: {cost / reference:.2f} x the cost per token of 16-token captions")


if __name__ == "__main__":
    main()
