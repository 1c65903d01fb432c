"""Teach CLIP a language: the image tower frozen, LoRA or another method on the text tower, features from the shards.

The same command again goes on where it stopped. On several devices: torchrun --nproc-per-node 4 -m capivara_cli train …
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from capivara_cli import console, languages
from capivara_cli.costs import per_step as steps
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models.clip import DEFAULT_MODEL, check_model, find_adapter
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, opt
from capivara_cli.pipeline.source import Source

if TYPE_CHECKING:
    from capivara_cli.cli.dry_run.rehearsal import Rehearsal
    from capivara_cli.models.adapters.methods import Tuning
    from capivara_cli.training.data import Selection

_TERMS = ("clip", "siglip", "distill")
_TRACKERS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class Options:
    """The defaults are the recipe of CAPIVARA + Opt (arXiv 2310.13683), with its optimiser repaired."""

    lang: str = opt("", "language to learn, or several: hi or hi,xh")
    separately: bool = opt(False, "one run for each of the languages, instead of one for all")
    model: str = opt(DEFAULT_MODEL, "open_clip model, hf-hub:ORG/NAME, local-dir:PATH, mclip:NAME, a run, or toy")
    pretrained: str = opt("", "weights of an open_clip model: a tag or a file [default: laion5b_s13b_b90k]")
    continue_from: str = opt("", "run or peft adapter (folder, hf-hub:ORG/NAME) to start from; its base, its kind")
    name: str = opt("", "name of the run [default: the language]")
    runs: str = opt("runs", "folder the run is put in; --out names the run folder itself")
    seeds: int = opt(1, "runs that differ in the seed only; results are mean ± std", min=1)
    steps: int = opt(1500, "training steps", min=1)
    batch_size: int = opt(1000, "pairs per step; all of them when there are fewer", min=2)
    lr: float = opt(1e-5, "highest learning rate", min=0)
    min_lr: float = opt(1e-6, "learning rate at the start of the warm-up and at the end", min=0)
    warmup: int = opt(250, "steps of warm-up", min=0)
    weight_decay: float = opt(0.2, "weight decay", min=0)
    optimizer: Literal["adamw", "adam-l2"] = opt("adamw", "adamw (decay on matrices), adam-l2 (as in the paper)")
    ema: float = opt(0.0, "decay of the average of the weights that is kept, as 0.999; 0: none", min=0, max=1)
    objective: str = opt("auto", "clip, siglip or distill, or a sum as clip+distill:0.5 [default: the model's own]")
    teacher: str = opt("", "for distill: model whose text tower teaches [default: the model itself, untuned]")
    distill_loss: Literal["mse", "cosine"] = opt("mse", "distance to the teacher")
    align: Literal["none", "native", "mt-source", "mt-pivot"] = opt(
        "none", "alignment routine 1, 2 or 3: which texts of an image come close to each other"
    )
    align_loss: Literal["mse", "cosine", "contrastive"] = opt("mse", "their distance")
    align_weight: float = opt(0.1, "weight of the alignment", min=0)
    align_anchor: Literal["frozen", "live"] = opt("frozen", "the other text as the base model has it, or tuned too")
    text_sampling: Literal["uniform", "weighted", "all"] = opt("uniform", "captions of an image per visit: one, or all")
    text_weights: str = opt("", "for weighted: authors and weights, as in human=2,argos=1,*blip2*=0.5; others 1")
    views: int = opt(0, "augmented views of each image, computed once; 0: the image as it is", min=0)
    shots: int = opt(0, "few-shot: images that are trained on; 0: all", min=0)
    split_seed: int = opt(42, "decides which images are held out, and which are the shots", min=0)
    val: str = opt("", "what to select on: a share or number of the images, held out, or shards, or an eval set")
    val_every: int = opt(100, "steps between validations", min=1)
    patience: int = opt(0, "validations without a better one after which training stops; 0: never", min=0)
    peft: Literal["lora", "adapter", "compacter", "soft-prompt", "layernorm", "lit", "full"] = opt(
        "lora", "what is tuned; lit: the whole text tower, full: both towers"
    )
    lora_r: int = opt(8, "rank of LoRA", min=1)
    lora_alpha: float = opt(8.0, "alpha of LoRA: its output is scaled by alpha / rank", min=0)
    lora_dropout: float = opt(0.0, "dropout before LoRA", min=0, max=1)
    lora_targets: str = opt("", "linear modules that get LoRA [default: query,value, or what the tower calls them]")
    lora_init: str = opt("", "initial values of LoRA, by peft's name: pissa, olora, loftq, … [default: peft's own]")
    lora_use: str = opt("", "variants of LoRA, by peft's names: dora, rslora, or several")
    projection: bool | None = opt(None, "train the projection of the text tower too [default: with lora]")
    layernorm: bool | None = opt(None, "train the layers' LayerNorms too [default: with adapter and compacter]")
    adapter_dim: int = opt(24, "width of the adapters' bottleneck", min=1)
    compacter_reduction: int = opt(16, "the tower's width over that of a compacter's bottleneck", min=1)
    phm_dim: int = opt(4, "Kronecker products in a compacter's layer", min=1)
    prompt_tokens: int = opt(4, "learned vectors of a soft prompt", min=1)
    keep_lang: str = opt("en", "languages not to be forgotten")
    keep_share: float = opt(0.15, "share of each batch in those languages; 0: none, as in the paper", min=0, max=0.9)
    keep_weight: float = opt(4.0, "weight of the term that holds those captions where the base model has them", min=0)
    temperature: float = opt(0.0, "temperature to start from; 0: the model's own", min=0, max=1)
    learn_temperature: bool = opt(True, "train the temperature; its inverse is held at or below 100")
    precision: Literal["auto", "fp32", "bf16"] = opt(
        "auto", "of frozen weights and activations; auto: bf16 where the device multiplies in it"
    )
    memory: str = opt("", "most memory to take, as in 2GB [default: most of what is free]", tuning=True)
    grad_checkpointing: bool = opt(False, "less memory, a third more work", tuning=True)
    compile: bool = opt(
        False, "let torch.compile build the layers: a slow start; on a CPU slower steps too", tuning=True
    )
    checkpoint_every: int = opt(100, "steps between checkpoints; 0: never", min=0, tuning=True)
    log: str = opt("", "where the metrics go too: tensorboard, wandb, or both", tuning=True)

    def check(self) -> None:
        """Raise at once what can be known to be wrong before anything is read."""
        if not self.languages:
            raise UsageError("train: which language?", "say it with --lang, as in: capivara train shards/ --lang hi")
        self.terms  # noqa: B018  parsed, so that it is checked
        if (self.text_sampling == "weighted") != bool(self.weights):
            raise UsageError(
                "--text-sampling weighted and --text-weights belong together",
                "as in: --text-sampling weighted --text-weights human=2,argos=1",
            )
        if self.patience and not self.val:
            raise UsageError("--patience: there is nothing to wait for without --val", "as in: --val 0.05 --patience 5")
        for name in self.trackers:
            if name not in _TRACKERS:
                raise UsageError(f"--log {name}: there are {' and '.join(_TRACKERS)}")
        self.check_method(self.peft)
        if self.align_weight and self.align != "none" and set(self.terms) == {"distill"}:
            raise UsageError("--align: a term beside images; distill alone has none", "as in: --objective clip+distill")

    def check_method(self, method: str) -> None:
        """Raise for options that do not go with what is tuned, which ``--continue-from`` may decide."""
        if method == "full" and (self.views or "distill" in self.terms):
            raise UsageError("--peft full trains on the images themselves: not with --views, not with distill")

    @property
    def languages(self) -> list[str]:
        return _languages(self.lang)

    @property
    def kept(self) -> list[str]:
        """Languages of the kept share; none of those that are learned anyway."""
        return [each for each in _languages(self.keep_lang) if each not in self.languages] if self.keep_share else []

    @property
    def trackers(self) -> list[str]:
        return _split(self.log)

    @property
    def terms(self) -> dict[str, float]:
        """``clip+distill:0.5`` -> {"clip": 1.0, "distill": 0.5}; {"auto": 1.0} for auto."""
        if self.objective == "auto":
            return {"auto": 1.0}
        found = {}
        for part in self.objective.split("+"):
            name, _, weight = part.strip().partition(":")
            number = _number(weight) if weight else 1.0
            if name not in _TERMS or number is None or number <= 0 or name in found:
                raise UsageError(f"--objective {self.objective}: {part!r}", f"a sum of {', '.join(_TERMS)}, each once")
            found[name] = number
        if {"clip", "siglip"} <= found.keys():
            raise UsageError(f"--objective {self.objective}: clip or siglip, they share the temperature")
        return found

    @property
    def weights(self) -> dict[str, float]:
        found = {}
        for part in _split(self.text_weights):
            name, equals, weight = part.rpartition("=")
            number = _number(weight)
            if not equals or number is None or number < 0:
                raise UsageError(f"--text-weights {part}: not AUTHOR=WEIGHT", "as in: human=2,argos=1")
            found[name] = number
        return found

    @property
    def heldout(self) -> float:
        """The share or number of images that ``--val`` holds out; 0 when it names data, or nothing."""
        return _number(self.val) or 0.0

    @property
    def request(self) -> dict[str, Any]:
        """What decides the result: a run is resumed only by the same."""
        aside = {"name", "runs", "seeds", "separately"}
        aside |= {each.name for each in fields(self) if each.metadata.get("tuning")}
        return {key: value for key, value in asdict(self).items() if key not in aside}

    @property
    def selection(self) -> Selection:
        from capivara_cli.training.data import Selection

        return Selection(
            self.languages,
            self.kept,
            align=self.align,
            weights=self.weights,
            shots=self.shots,
            heldout=self.heldout,
            split_seed=self.split_seed,
            images_needed=set(self.terms) != {"distill"},
        )

    @property
    def tuning(self) -> Tuning:
        from capivara_cli.models.adapters.methods import Tuning

        variants = {f"use_{name}": True for name in _split(self.lora_use)}
        return Tuning(
            method=self.peft,
            rank=self.lora_r,
            alpha=self.lora_alpha,
            dropout=self.lora_dropout,
            targets=tuple(_split(self.lora_targets)),
            projection=self.projection,
            layernorm=self.layernorm,
            bottleneck=self.adapter_dim,
            reduction=self.compacter_reduction,
            phm=self.phm_dim,
            prompt_tokens=self.prompt_tokens,
            more=variants | ({"init_lora_weights": self.lora_init} if self.lora_init else {}),
        )


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _languages(text: str) -> list[str]:
    """BCP-47 codes of a comma-separated list. A code that no translator knows is taken as given."""
    found = []
    for name in _split(text):
        try:
            found.append(languages.get(name).code)
        except CapivaraError:
            if not re.fullmatch(r"[a-z]{2,3}(-\w+)*", name):
                raise
            found.append(name)
    return list(dict.fromkeys(found))


def _runs(options: Options, env: Env) -> list[tuple[Options, RunDir, Settings]]:
    """The runs that are asked for, each with its seed, none of which holds anything else."""
    options.check()
    asked = [replace(options, lang=lang) for lang in options.languages] if options.separately else [options]
    wanted = [
        (each, seed, _folder(each, env.settings.out, seed if options.seeds > 1 else None, len(asked) > 1))
        for each in asked
        for seed in range(env.seed, env.seed + options.seeds)
    ]
    runs = [(each, RunDir(folder), replace(env.settings, seed=seed)) for each, seed, folder in wanted]
    for each, run, settings in runs:
        run.check_request({**each.request, "seed": settings.seed})
    return runs


def _estimate(inputs: list[str], options: Options, env: Env, rehearsal: Rehearsal) -> dict[str, Any]:
    from capivara_cli.cli.dry_run import offline, training

    runs = [training.Wanted(*each) for each in _runs(options, env)]
    offline.check(lambda: _check_models(options), rehearsal)
    training.rehearse(runs, inputs, env, rehearsal)
    return training.planned_run(runs)


@command("train", Options, estimate=_estimate)
def train(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Train on the shards (or the stream) and fill run folders: one, or one for each language and each seed."""
    runs = _runs(options, env)
    if not all(run.finished for _, run, _ in runs):
        _check_models(options)

    from capivara_cli.training.session import Session

    source = Source(inputs, env)
    stores: dict[str, Any] = {}  # a stream is read once, for all runs
    summaries: list[dict[str, Any]] = []
    for number, (each, run, settings) in enumerate(runs):
        with steps.at(number):
            summary = Session(each, run, source, _env(settings, env), stores).run()
            summaries += [summary] if summary is not None else []
    if not summaries:
        sys.exit(0)  # one of several processes, but not the first, which reports for all
    if len(runs) == 1:
        return summaries[0]
    console.say(_over_runs(summaries))
    return {**summaries[0], "runs": summaries}


def _folder(options: Options, out: str, seed: int | None, several: bool) -> Path:
    """``runs/hi``; ``--out`` names it itself, and is the parent where there are several."""
    name = options.name or "-".join(options.languages)
    if options.name and several:
        name = f"{options.name}-{options.lang}"
    name = name if seed is None else f"{name}-seed{seed}"
    if out:
        return Path(out) / name if several or seed is not None else Path(out)
    return Path(options.runs) / name


def _check_models(options: Options) -> None:
    if options.continue_from:
        base = find_adapter(options.continue_from).base
        if options.model not in (DEFAULT_MODEL, base["model"]):
            raise CapivaraError(
                f"--model {options.model}: {options.continue_from} belongs to {base['model']}", "leave --model out"
            )
        check_model(base["model"], base["pretrained"])
    else:
        check_model(options.model, options.pretrained)
    if options.teacher:
        check_model(options.teacher)


def _env(settings: Settings, env: Env) -> Env:
    """The environment with another seed, and the same books: what is read once counts once."""
    own = Env(settings, env.step)
    own.tally = env.tally
    return own


def _over_runs(summaries: Sequence[dict[str, Any]]) -> str:
    """Mean and sample standard deviation over the runs of each language."""
    lines = []
    for lang in dict.fromkeys(each["lang"] for each in summaries):
        own = [each for each in summaries if each["lang"] == lang]
        parts = [f"loss {_spread([each['loss_last'] for each in own], 3)}"]
        if all(each.get("val") for each in own):
            parts.append(f"mean recall held out {_spread([each['val']['mean'] for each in own], 1)}")
        lines.append(f"{lang}: {len(own)} run{'s' * (len(own) > 1)}, {', '.join(parts)}")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
