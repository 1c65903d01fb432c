"""Does it learn? Every method, routine and objective on the toy world, three seeds each, and the optimised step beside
the plain padded one.

    python benchmarks/toy_training.py OUT          # about 20 minutes on two cores; it resumes after a kill
    python benchmarks/toy_training.py OUT --only lora "lora, dora" --seeds 1

1,000 drawn scenes, each with a clean caption in English and in Portuguese, and the translation of each into the other
language by the toy translators. Scored on 300 held-out scenes with clean captions: mean of R@1, R@5 and R@10 in both
directions. The learning rate of each case is the best of five on other scenes (split "val"), with seed 0.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import random
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

STEPS, BATCH, WARMUP = 150, 96, 10
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SCENES, TESTED = 1000, 300

METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora, dora": {"lora_use": "dora"},
    "lora, rslora": {"lora_use": "rslora"},
    "lora, pissa": {"lora_init": "pissa"},
    "lora without the projection": {"projection": False},
    "adapter": {"peft": "adapter"},
    "compacter": {"peft": "compacter", "compacter_reduction": 8},
    "soft-prompt": {"peft": "soft-prompt"},
    "layernorm": {"peft": "layernorm"},
    "lit": {"peft": "lit"},
    "full": {"peft": "full"},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "align native (1)": {"align": "native"},
    "align mt-source (2)": {"align": "mt-source"},
    "align mt-pivot (3)": {"align": "mt-pivot"},
    "align native, contrastive, live": {"align": "native", "align_loss": "contrastive", "align_anchor": "live"},
    "siglip": {"objective": "siglip"},
    "distill, text only": {"objective": "distill"},
    "clip + distill": {"objective": "clip+distill"},
    "all captions per visit": {"text_sampling": "all"},
    "average of weights": {"ema": 0.95},
    "nothing kept": {"keep_share": 0.0},
}
EQUAL: dict[str, dict[str, Any]] = {
    "plain: padded to 77, one graph, float32": {"plain": True, "keep_share": 0.0},
    "optimised, float32": {"precision": "fp32", "keep_share": 0.0},
    "optimised, bf16": {"precision": "bf16", "keep_share": 0.0},
    "optimised, float32, 1 augmented view": {"precision": "fp32", "keep_share": 0.0, "views": 1},
    "optimised, float32, 8 augmented views": {"precision": "fp32", "keep_share": 0.0, "views": 8},
}
CASES = METHODS | OBJECTIVES | EQUAL
LIKE = {name: "optimised, float32" for name in EQUAL}
"""The case whose learning rate another one takes: cases that should agree need the same."""


def make_data(folder: Path) -> Path:
    """Scenes with four captions each, as shards."""
    from capivara_cli.cli.perform import Performer
    from capivara_cli.pipeline.options import Settings
    from capivara_cli.shards.archive import ShardWriter
    from capivara_cli.shards.sample import Caption, Sample, encode_json
    from capivara_cli.storage.files import replacing
    from capivara_cli.toy import grammar, scenes

    clean, data = folder / "clean", folder / "data"
    if not clean.exists():
        clean.mkdir(parents=True)
        with replacing(clean / "00000.tar") as out:
            writer = ShardWriter(out, [])
            for index, scene in enumerate(scenes.sample_scenes("train", SCENES, 0)):
                picture = io.BytesIO()
                scenes.draw(scene, seed=index).save(picture, "PNG")
                said = grammar.parallel(scene, random.Random(f"benchmark-{index}"))
                captions = [Caption(said[lang], lang, "grammar").to_json() for lang in ("en", "pt")]
                document = encode_json({"captions": captions})
                writer.write(Sample(f"{index:05d}", {"png": picture.getvalue(), "json": document}))
            writer.finish()
    there = "translate --translator toy --from en --lang pt --only original | "
    back = "translate --translator toy --from pt --lang en --only original"
    Performer().line(["run", there + back, str(clean), "--out", str(data)], Settings(quiet=True))
    return data


@functools.cache
def tested(split: str) -> tuple[list[Any], dict[str, list[str]]]:
    """Images of the eval set, and its captions by language."""
    from PIL import Image

    from capivara_cli import registry
    from capivara_cli.pipeline.env import Env
    from capivara_cli.pipeline.options import Settings

    env = Env(Settings(), "benchmark")
    images, texts = [], {}
    for lang in ("en", "pt", "hi", "xh"):
        samples = list(registry.load("evalsets", f"toy:{TESTED}", lang=lang, data="", split=split, env=env).samples)
        texts[lang] = [sample.captions[0].text for sample in samples]
        images = images or [Image.open(io.BytesIO(sample.members["png"])).convert("RGB") for sample in samples]
    return images, texts


def score(clip: Any, split: str) -> dict[str, float]:
    """Mean recall per language, in percent; queries translated for a model that was trained that way."""
    import numpy as np

    from capivara_cli import registry
    from capivara_cli.evaluation.retrieval import retrieval
    from capivara_cli.models.generation import Decoding, Setup

    images, texts = tested(split)
    seen = clip.embed_images([clip.preprocess(image) for image in images])
    found = {}
    for lang, said in texts.items():
        if clip.translate_queries and lang == "pt":
            translator = registry.load(
                "translators", "toy", source="pt", target=clip.translate_queries, setup=Setup("cpu", Decoding())
            )
            said = [str(text) for text in translator(said)]
        found[lang] = 100 * retrieval(seen, clip.embed_texts(said), np.arange(len(said))).mean_recall
    return found


def trained(folder: Path, case: str, rate: float, seed: int) -> Any:
    """The model of one run."""
    from capivara_cli.commands.train import Options, train
    from capivara_cli.models.clip import load_clip
    from capivara_cli.pipeline.env import Env
    from capivara_cli.pipeline.options import Settings, build

    wanted = dict(CASES[case])
    plain = wanted.pop("plain", False)
    options = build(
        Options,
        lang="pt", model="toy", runs=str(folder / "runs"), name=_name(case, rate, seed), steps=STEPS, batch_size=BATCH,
        lr=rate, min_lr=rate / 10, warmup=WARMUP, checkpoint_every=0, **wanted,
    )  # fmt: skip
    if plain:
        return padded(folder, options, seed)
    run = train.run([str(folder / "data")], options, Env(Settings(seed=seed, quiet=True, device="cpu"), "train"))["run"]
    return load_clip(run)


def padded(folder: Path, options: Any, seed: int) -> Any:
    """The same batches, captions padded to 77, one graph for the whole batch: only the data is ours."""
    import numpy as np
    import torch
    from torch.nn import functional as F  # noqa: N812

    from capivara_cli.models.adapters import methods
    from capivara_cli.models.clip import load_clip
    from capivara_cli.pipeline.env import Env
    from capivara_cli.pipeline.options import Settings
    from capivara_cli.pipeline.source import Source
    from capivara_cli.training.data import Batches, select
    from capivara_cli.training.optimization import optimizer
    from capivara_cli.training.store import features

    clip = load_clip("toy")
    env = Env(Settings(seed=seed), "train")
    store = features(Source([str(folder / "data")], env), clip, folder / "plain", env)
    batches = Batches(select(store, options.languages, options.kept, options.captions, options.loss), BATCH, 0.0, seed)
    torch.manual_seed(seed)
    text = methods.tune(clip.model.text, options.tuning, "toy").train()
    scale = clip.model.logit_scale.requires_grad_(True)
    parameters = [*(each for each in text.parameters() if each.requires_grad), scale]
    optimizing = optimizer("adamw", parameters, options.schedule.weight_decay)
    for step in range(STEPS):
        batch = batches.draw(step)
        for group in optimizing.param_groups:
            group["lr"] = options.schedule.rate(step)
        images = F.normalize(torch.from_numpy(store.images[batch.images, 0].astype(np.float32)), dim=-1)
        torch.manual_seed(1000 * seed + step)
        texts = F.normalize(text(clip.pad(store.rows(batch.captions[0]), 77)), dim=-1)
        logits = scale.exp() * images @ texts.T
        labels = torch.arange(len(logits))
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        optimizing.zero_grad()
        loss.backward()
        optimizing.step()
        with torch.no_grad():
            scale.clamp_(0, np.log(100))
    clip.model.text = text.eval()
    return clip


def _name(case: str, rate: float, seed: int) -> str:
    return f"{case.replace(' ', '-').replace(',', '').replace(':', '')}-{rate:g}-{seed}"


def measured(folder: Path, case: str, rate: float, seed: int, split: str) -> dict[str, float]:
    """``score`` of one run, stored in the folder."""
    import torch

    from capivara_cli import console

    path = folder / "scores" / f"{_name(case, rate, seed)}-{split}.json"
    if path.is_file():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    console.be_quiet(True)
    found = score(trained(folder, case, rate, seed), split)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found))
    return found


def _measured(job: tuple[Any, ...]) -> dict[str, float]:
    return measured(*job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", metavar="CASE", help="cases by name")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    names = [name for name in CASES if not arguments.only or name in arguments.only]
    make_data(arguments.out)
    searched = list(dict.fromkeys(LIKE.get(name, name) for name in names))
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        jobs = [(arguments.out, name, rate, 0, "val") for name in searched for rate in RATES]
        selected = dict(zip(((job[1], job[2]) for job in jobs), pool.map(_measured, jobs), strict=True))
        best = {name: max(RATES, key=lambda rate: selected[name, rate]["pt"]) for name in searched}
        jobs = [
            (arguments.out, name, best[LIKE.get(name, name)], seed, "test")
            for name in names
            for seed in range(arguments.seeds)
        ]
        scores = dict(zip(((job[1], job[3]) for job in jobs), pool.map(_measured, jobs), strict=True))
    from capivara_cli.models.clip import load_clip

    before = score(load_clip("toy"), "test")
    languages = list(before)
    print("| | lr | " + " | ".join(languages) + " |\n|---|---|" + "---|" * len(languages))
    print("| nothing trained | | " + " | ".join(f"{before[lang]:.1f}" for lang in languages) + " |")
    for name in names:
        values = {lang: [scores[name, seed][lang] for seed in range(arguments.seeds)] for lang in languages}
        cells = [f"{statistics.fmean(each):.1f} ± {statistics.pstdev(each):.1f}" for each in values.values()]
        print(f"| {name} | {best[LIKE.get(name, name)]:g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
