"""The whole method, from photos or shards to a tuned and evaluated model: capivara adapt photos/ --lang pt

Runs pack, caption, translate, filter, dedupe, train, eval and footprint, and shows each command as it runs it, so
that you can go on from any of them by hand. Killed and run again, it goes on where it stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from capivara_cli import console, languages, ledger, plugins
from capivara_cli.command import command
from capivara_cli.errors import UsageError
from capivara_cli.perform import perform_line
from capivara_cli.stage import Env, Settings, opt
from capivara_cli.weights import check_model

HELDOUT = "heldout"


@dataclass(frozen=True)
class Options:
    lang: str = opt("", "the language to teach, a BCP-47 code: pt, hi, xh …")
    name: str = opt("", "name of the run [default: the language]")
    runs: str = opt("runs", "folder of all runs")
    model: str = opt("xlm-roberta-base-ViT-B-32", "the CLIP to adapt, as in capivara train --model")
    pretrained: str = opt("", "its weights [default: laion5b_s13b_b90k]")
    captioner: str = opt("blip2", "who writes captions, see: capivara list captioners")
    n: int = opt(10, "captions per image", min=1)
    translator: str = opt("argos", "who translates, see: capivara list translators")
    top_k: int = opt(5, "captions kept per image and language, best image-text score first; 0: all", min=0)
    min_score: float = opt(-1.0, "captions below this image-text score are left out", min=-1.0, max=1.0)
    steps: int = opt(1500, "optimiser steps", min=1)
    batch_size: int = opt(1000, "image-text pairs per step", min=2)
    lr: float = opt(1e-5, "highest learning rate", min=0.0)
    warmup: int = opt(250, "steps until the highest learning rate", min=0)
    seeds: int = opt(1, "runs that differ in the seed only; results are mean ± std", min=1)
    eval: str = opt(HELDOUT, "eval sets, comma-separated; heldout: a part of your own images, never trained on")
    eval_lang: str = opt("", "languages to evaluate [default: en and the language to teach]")
    fraction: float = opt(0.1, "share of your images that is held out, when --eval is heldout", min=0.0, max=0.9)

    def check(self) -> None:
        """Raise at once what can be known to be wrong before hours of work."""
        if not self.lang:
            raise UsageError("adapt: which language? --lang pt", "capivara list languages shows all")
        languages.get(self.lang)
        plugins.check("captioners", self.captioner)
        plugins.check("translators", self.translator)
        check_model(self.model, self.pretrained)


@command("adapt", Options, "PHOTOS_OR_SHARDS", composed=True)
def adapt(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Make a run from images: returns the run folders, every result, and the footprint of the whole chain."""
    options.check()
    from capivara_cli.evaluation import story

    if not inputs:
        raise UsageError("adapt: from what?", "capivara adapt photos/captions.csv --lang pt, or shards/, or toy")
    script = Script(options, env.settings)
    train, heldout = script.make_data(inputs)
    runs = [script.train(train, seed) for seed in range(env.seed, env.seed + options.seeds)]
    found = script.evaluate(runs, heldout)
    stages, total = ledger.sums(ledger.unique(each for run in runs for each in ledger.read(Path(run))))
    console.say("\n" + story.story_text(found, script.lang) + "\n\n" + price(stages, total))
    return {
        "run": runs[0],
        "runs": runs,
        "before_and_after": story.before_and_after(found),
        "disparity": story.spread(found),
        "footprint": total,
        "stages": stages,
    }


def price(stages: Sequence[ledger.Record], total: ledger.Record) -> str:
    """The footprint of the whole chain in one line."""
    shares = ", ".join(f"{each['stage']} {each['kwh'] * 1000:.2g}" for each in stages)
    return (
        f"cost of the whole chain: {console.duration(total['seconds'])}, {total['kwh'] * 1000:.2g} Wh, "
        f"{total['co2e_g']:.2g} g CO2e ({shares} Wh)"
    )


class Script:
    """The commands of the method, with one set of options."""

    def __init__(self, options: Options, settings: Settings) -> None:
        self.options = options
        self.runs = settings.out or options.runs  # --out of one command would be that of all
        self.settings = replace(settings, out="")
        self.lang = languages.get(options.lang).code
        self.name = options.name or self.lang
        self.data = Path(self.runs) / f"{self.name}-data"

    def make_data(self, inputs: Sequence[str]) -> tuple[str, str]:
        """Pack what is not in shards yet, then caption to dedupe; returns the folders to train and evaluate on."""
        options = self.options
        shards = list(inputs)
        if not all(_is_shards(text) for text in inputs):
            packed = str(self.data / "packed")
            self._do("pack", *inputs, "--out", packed)
            shards = [packed]
        steps = [
            f"caption --captioner {options.captioner} --n {options.n}",
            f"translate --lang {self.lang} --translator {options.translator}",
            f"filter {self._model()} --min-score {options.min_score} --top-k {options.top_k}",
            "dedupe",
        ]
        train, heldout = str(self.data / "train"), ""
        if HELDOUT in options.eval.split(","):
            heldout = str(self.data / HELDOUT)
            parts = f"--fraction {options.fraction}"
            self._do("run", f"split --part heldout {parts} | translate --lang {self.lang} --translator "
                     f"{options.translator}", *shards, "--out", heldout)  # fmt: skip
            steps.insert(0, f"split --part train {parts}")
        self._do("run", " | ".join(steps), *shards, "--out", train)
        return train, heldout

    def train(self, data: str, seed: int) -> str:
        options = self.options
        name = self.name if options.seeds == 1 else f"{self.name}-seed{seed}"
        schedule = ["--steps", options.steps, "--batch-size", options.batch_size, "--lr", options.lr]
        summary = self._do(
            "train", data, "--lang", self.lang, *self._model().split(), *schedule, "--warmup", options.warmup,
            "--name", name, "--runs", self.runs, "--seed", seed,
        )  # fmt: skip
        return summary["run"]

    def evaluate(self, runs: Sequence[str], heldout: str) -> dict[str, Any]:
        sets = [heldout if name == HELDOUT else name for name in self.options.eval.split(",")]
        langs = self.options.eval_lang or ",".join(dict.fromkeys(["en", self.lang]))
        words = ["eval", *runs, *sets, *self._model().split(), "--lang", langs]
        console.say(f"$ capivara {shlex.join(words)}")
        with console.hushed():  # the story of before and after says it shorter than one table per run
            return self._do(*words)

    def _model(self) -> str:
        pretrained = f" --pretrained {self.options.pretrained}" if self.options.pretrained else ""
        return f"--model {self.options.model}{pretrained}"

    def _do(self, *words: object) -> dict[str, Any]:
        return perform_line([str(word) for word in words], self.settings)


def _is_shards(text: str) -> bool:
    """Whether an input is shards already: a tar, or a folder that holds some."""
    path = Path(text)
    return ".tar" in text or (path.is_dir() and any(path.glob("*.tar")))
