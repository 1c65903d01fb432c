"""Teach CLIP a language: the image tower frozen, LoRA on the text tower, features from the shards."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from capivara_cli import __version__, console, languages
from capivara_cli.clip import DEFAULT_MODEL, Clip, check_model, load_clip
from capivara_cli.command import command
from capivara_cli.engine import Source
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.runs import RunDir, replacing_folder
from capivara_cli.shards import replace_text, sweep
from capivara_cli.stage import Env, opt

if TYPE_CHECKING:
    from capivara_cli.training.data import Batches, TrainingData
    from capivara_cli.training.encoder import Encoder
    from capivara_cli.training.loop import Recipe
    from capivara_cli.training.tuning import Tuning


@dataclass(frozen=True)
class Options:
    """The defaults are the recipe of CAPIVARA + Opt (arXiv 2310.13683), with its optimiser repaired."""

    lang: str = opt("", "language to learn, or several: hi or hi,xh")
    model: str = opt(DEFAULT_MODEL, "open_clip model, hf-hub:ORG/NAME, local-dir:PATH, a run, or toy")
    pretrained: str = opt("", "weights of an open_clip model: a tag or a file [default: laion5b_s13b_b90k]")
    name: str = opt("", "name of the run [default: the language]")
    runs: str = opt("runs", "folder the run is put in; --out names the run folder itself")
    steps: int = opt(1500, "training steps", min=1)
    batch_size: int = opt(1000, "pairs per step; all of them when there are fewer", min=2)
    lr: float = opt(1e-5, "highest learning rate", min=0)
    min_lr: float = opt(1e-6, "learning rate at the start of the warm-up and at the end", min=0)
    warmup: int = opt(250, "steps of warm-up", min=0)
    weight_decay: float = opt(0.2, "weight decay", min=0)
    optimizer: Literal["adamw", "adam-l2"] = opt("adamw", "adamw (decay on matrices), adam-l2 (as in the paper)")
    peft: Literal["lora", "adapter", "compacter", "soft-prompt", "layernorm", "lit"] = opt(
        "lora", "what is tuned of the text tower; lit: all of it"
    )
    lora_r: int = opt(8, "rank of LoRA", min=1)
    lora_alpha: float = opt(8.0, "alpha of LoRA: its output is scaled by alpha / rank", min=0)
    lora_dropout: float = opt(0.0, "dropout before LoRA", min=0, max=1)
    lora_targets: str = opt("query,value", "linear modules that get LoRA, by name")
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
    compile: bool = opt(False, "let torch.compile build the tower's layers: a slow start, faster steps", tuning=True)
    checkpoint_every: int = opt(100, "steps between checkpoints; 0: never", min=0, tuning=True)

    @property
    def languages(self) -> list[str]:
        return _languages(self.lang)

    @property
    def kept(self) -> list[str]:
        """Languages of the kept share; none of those that are learned anyway."""
        return [each for each in _languages(self.keep_lang) if each not in self.languages] if self.keep_share else []

    @property
    def request(self) -> dict[str, Any]:
        """What decides the result: a run is resumed only by the same."""
        aside = {"name", "runs", *(each.name for each in fields(self) if each.metadata.get("tuning"))}
        return {key: value for key, value in asdict(self).items() if key not in aside}

    @property
    def tuning(self) -> Tuning:
        from capivara_cli.training.tuning import Tuning

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


@command("train", Options)
def train(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Train on the shards (or the stream) and fill a run folder; the same command again goes on where it stopped."""
    if not options.languages:
        raise UsageError("train: which language?", "say it with --lang, as in: capivara train shards/ --lang hi")
    run = RunDir(Path(env.settings.out or Path(options.runs) / (options.name or "-".join(options.languages))))
    request = {**options.request, "seed": env.seed}
    run.check_request(request)
    sweep(run.path)
    source = Source(inputs, env)
    if run.finished:
        _same_data(run, _fingerprint(source))
        console.say(f"{run}: already finished")
        return {**_summary(run, env), "inputs": source.shards}
    check_model(options.model, options.pretrained)
    clip = load_clip(options.model, options.pretrained, env.device)
    total = sum(parameter.numel() for parameter in clip.model.parameters())
    base = {
        "source": clip.source,
        "identity": clip.identity,
        "image": clip.identity["weights"],
        "text": clip.text_digest,
    }
    data = _read(source, clip, options, env)
    if run.document:
        _same_data(run, data.fingerprint)
    batches, recipe = _prepare(options, data, env)
    run.save(
        name=run.path.name,
        request=request,
        base=base,
        data=_describe(data),
        batch={"size": batches.size, "kept": batches.kept_size, "warmup": recipe.warmup},
        history=source.history,
        versions=_versions(),
        step=run.document.get("step", 0),
        finished=False,
    )
    run.save(parameters=_adapt(clip, options, total, env.seed))
    encoder = _encoder(clip, options, data)
    _finish(run, clip, _loop(clip, encoder, batches, recipe, run))
    return {**_summary(run, env), "inputs": source.shards}


def _read(source: Source, clip: Clip, options: Options, env: Env) -> TrainingData:
    """The whole stream, before anything is trained: half a stream must not become a model."""
    from torch import nn

    from capivara_cli.training.data import read_data

    data = read_data(console.track(source, "read"), clip, options.languages, options.kept, env)
    clip.model.visual = nn.Identity()  # every image is a vector now: the tower's memory goes to training
    return data


def _fingerprint(source: Source) -> str:
    from capivara_cli.training.data import Watched

    watched = Watched(source)
    for _ in watched:
        pass
    return watched.fingerprint


def _same_data(run: RunDir, fingerprint: str) -> None:
    if run.document["data"]["fingerprint"] != fingerprint:
        raise CapivaraError(
            f"{run}: was trained on other data than this input",
            "choose another name with --name, or delete the folder to train anew",
        )


def _prepare(options: Options, data: TrainingData, env: Env) -> tuple[Batches, Recipe]:
    """The batches and the recipe as this data allows them; every departure from what was asked is said."""
    from capivara_cli.training.data import Batches
    from capivara_cli.training.loop import Recipe
    from capivara_cli.training.optimization import capped_warmup

    batches = Batches(data, options.batch_size, options.keep_share if options.kept else 0.0, env.seed)
    if batches.size < 2:
        raise CapivaraError("one image-text pair cannot be told from others: at least two images are needed")
    if batches.size < options.batch_size:
        console.say(
            f"batches of {batches.size:,} pairs, not {options.batch_size:,}: there are no more images than that"
        )
    if options.kept and not batches.kept_size:
        console.say(f"no captions in {', '.join(options.kept)}: nothing keeps these from being forgotten")
    warmup = capped_warmup(options.warmup, options.steps)
    if warmup < options.warmup:
        console.say(f"warm-up of {warmup} steps, not {options.warmup}: there are {options.steps:,} steps in all")
    recipe = Recipe(
        steps=options.steps,
        lr=options.lr,
        min_lr=min(options.min_lr, options.lr),
        warmup=warmup,
        optimizer=options.optimizer,
        weight_decay=options.weight_decay,
        learn_temperature=options.learn_temperature,
        keep_weight=options.keep_weight,
        checkpoint_every=options.checkpoint_every,
        seed=env.seed,
    )
    return batches, recipe


def _adapt(clip: Clip, options: Options, total: int, seed: int) -> dict[str, Any]:
    """Make the text tower one of which only the tuned parameters train; returns their counts."""
    import math

    import torch

    from capivara_cli.training.adapters import checkpoint_gradients, trainable
    from capivara_cli.training.tuning import tune

    if options.grad_checkpointing:
        checkpoint_gradients(clip.model.text)
    if options.temperature:
        with torch.no_grad():
            clip.model.logit_scale.fill_(-math.log(options.temperature))
    torch.manual_seed(seed)
    clip.model.text = tune(clip.model.text, options.tuning, clip.identity["model"]).to(clip.device)
    counted = trainable(clip.model.text)
    named = [(name, each.numel()) for name, each in clip.model.text.named_parameters() if each.requires_grad]
    projection = sum(count for name, count in named if "proj." in name and not name.startswith("transformer."))
    norms = sum(count for name, count in named if "LayerNorm" in name)
    parts = {
        f"in {options.peft}": counted - projection - norms,
        "in the projection": projection,
        "in LayerNorms": norms,
        "temperature": int(options.learn_temperature),
    }
    count = sum(parts.values())
    return {"total": total, "trainable": count, "percent": round(100 * count / total, 4), "parts": parts}


def _encoder(clip: Clip, options: Options, data: TrainingData) -> Encoder:
    """The tuned tower, made lean, with what memory it may take."""
    from capivara_cli.training.devices import Devices
    from capivara_cli.training.encoder import Encoder
    from capivara_cli.training.lean import lean, precision
    from capivara_cli.training.memory import Budget, parse_size

    number = precision(options.precision, clip.device, clip.model.text)
    lean(clip.model.text, [data.target.tokens, data.kept.tokens], number)
    if options.compile:
        for layer in clip.model.text.modules():
            if type(layer).__name__.endswith(("Layer", "ResidualAttentionBlock", "EncoderLayer")):
                layer.compile(dynamic=True)
    return Encoder(clip, number, Budget(clip.device, parse_size(options.memory)), Devices())


def _loop(clip: Clip, encoder: Encoder, batches: Batches, recipe: Recipe, run: RunDir) -> float:
    from capivara_cli.training.loop import Trainer

    return Trainer(clip, encoder, batches, recipe, run).train()


def _finish(run: RunDir, clip: Clip, pairs_per_second: float) -> None:
    """Adapter, model card, and last of all the word that the run is finished."""
    import hashlib

    from capivara_cli.training import tuning
    from capivara_cli.training.card import model_card

    with replacing_folder(run.adapter) as folder:
        tuning.save(clip.model.text, folder)
    metrics = run.read_metrics()
    weights = (run.adapter / "adapter_model.safetensors").read_bytes()
    run.save(
        logit_scale=clip.model.logit_scale.item(),
        adapter_sha256=hashlib.sha256(weights).hexdigest(),
        result={
            "loss_first": metrics[0]["loss"],
            "loss_last": metrics[-1]["loss"],
            "seconds": round(sum(line["timing"]["seconds"] for line in metrics), 3),
            "pairs_per_second": round(pairs_per_second, 1),
        },
        step=len(metrics),
    )
    replace_text(run.path / "MODEL_CARD.md", model_card(run.document))
    run.save(finished=True)
    _report(run.document, run)


def _report(document: dict[str, Any], run: RunDir) -> None:
    parameters, result, batch = document["parameters"], document["result"], document["batch"]
    console.say(
        f"trained {parameters['trainable']:,} of {parameters['total']:,} parameters ({parameters['percent']:.2f} %), "
        f"{document['request']['steps']:,} steps of {batch['size']:,} pairs in {console.duration(result['seconds'])} "
        f"({result['pairs_per_second']:,.0f} pairs/s); loss {result['loss_first']:.3f} → {result['loss_last']:.3f}"
    )
    console.say(f"the run is {run}/; measure it with: capivara eval {run} SHARDS")


def _summary(run: RunDir, env: Env) -> dict[str, Any]:
    document = run.document
    parameters, result, data = document["parameters"], document["result"], document["data"]
    return {
        "run": str(run),
        "steps": document["request"]["steps"],
        "batch_size": document["batch"]["size"],
        "loss_first": result["loss_first"],
        "loss_last": result["loss_last"],
        "pairs_per_second": result["pairs_per_second"],
        "trainable": parameters["trainable"],
        "total": parameters["total"],
        "trainable_percent": parameters["percent"],
        "samples": data["samples"],
        "captions": data["captions"],
        "read": env.tally.read,
        "dropped": dict(env.tally.dropped),
        "notes": dict(env.tally.notes),
    }


def _describe(data: TrainingData) -> dict[str, Any]:
    return {
        "samples": data.samples,
        "captions": dict(sorted(data.captions.items())),
        "authors": [[language, author, count] for (language, author), count in sorted(data.authors.items())],
        "embedded_here": data.embedded_here,
        "fingerprint": data.fingerprint,
    }


def _versions() -> dict[str, str]:
    import open_clip
    import peft
    import torch
    import transformers

    return {
        "capivara": __version__,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
