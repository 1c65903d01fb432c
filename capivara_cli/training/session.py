"""One run from its request to its folder: load, choose, tune, train, write; each departure from the request is said."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from capivara_cli import __version__, console, plugins
from capivara_cli.clip import Clip, find_adapter, load_base, load_clip
from capivara_cli.engine import Source
from capivara_cli.errors import CapivaraError
from capivara_cli.runs import RunDir, replacing_folder
from capivara_cli.shards import History, Stream, replace_text, sweep
from capivara_cli.stage import Env
from capivara_cli.training import curve, tuning
from capivara_cli.training.adapters import checkpoint_gradients, trainable
from capivara_cli.training.card import model_card
from capivara_cli.training.data import Batches, Selection, TrainingData, select
from capivara_cli.training.devices import Devices, join
from capivara_cli.training.encoder import Encoder, ImageEncoder
from capivara_cli.training.lean import compile_layers, lean, precision
from capivara_cli.training.loop import Recipe, Trainer
from capivara_cli.training.memory import Budget, give_back, parse_size
from capivara_cli.training.objective import (
    SIGLIP_BIAS,
    SIGLIP_SCALE,
    Align,
    Distill,
    ImageText,
    Keep,
    Objective,
    Term,
)
from capivara_cli.training.optimization import capped_warmup
from capivara_cli.training.store import FOLDER, Store, features
from capivara_cli.training.teacher import Teacher
from capivara_cli.training.trackers import Trackers
from capivara_cli.training.validation import Validation

_OF_PROJECTION = re.compile(r"(base_model\.model\.|tower\.)?(proj|text_projection)(\.|$)")
_SAMPLE = 256
"""Captions, or images, on which memory is measured."""


@dataclass(frozen=True)
class _EvalSource:
    """An eval set's samples in the form of a source of shards that cannot be told apart by their files."""

    samples: Any
    shards: tuple[str, ...] = ("-",)
    history: History = ()  # type: ignore[assignment]

    def __iter__(self) -> Stream:
        return iter(self.samples)


class Session:
    """``options`` are those of ``capivara train``; the run folder says how far an earlier session came.

    ``stores``: what other sessions of the same command have read.
    """

    def __init__(self, options: Any, run: RunDir, source: Source, env: Env, stores: dict[str, Store]) -> None:
        self.options, self.run_dir, self.source, self.env, self.stores = options, run, source, env, stores
        self.devices = Devices(device=env.device)
        self.method = options.peft

    def run(self) -> dict[str, Any]:
        """Train what is left to train; returns the summary of the run."""
        options, run, env = self.options, self.run_dir, self.env
        self.devices = join(env.device)
        run.writes = self.devices.first
        if not run.writes:
            console.be_quiet(True)
        else:
            sweep(run.path)
        clip, start = self._load()
        store = self._store(clip)
        if run.document:
            self._same_data(store)
        if run.finished:
            console.say(f"{run}: already finished")
            return self._summary()
        data = select(store, options.selection)
        if data.left_out:
            wanted = ", ".join([*options.languages, *options.kept])
            env.tally.notes[f"samples without a caption in {wanted}"] = data.left_out
        base = {
            "source": clip.source,
            "identity": clip.identity,
            "image": clip.identity["weights"],
            "text": clip.text_digest,
        }
        validation = self._validation(clip, data)
        objective = self._objective(clip, data)
        teacher = self._teacher(clip, data) if objective.needs("teacher") else None
        batches, recipe = self._prepare(data)
        total = sum(parameter.numel() for parameter in clip.model.parameters())
        run.save(
            name=run.path.name,
            request={**options.request, "seed": env.seed},
            base=base,
            data=self._describe(data),
            batch={
                **run.document.get("batch", {}),
                "size": batches.size,
                "kept": batches.kept_size,
                "warmup": recipe.warmup,
            },
            objective={term.name: term.weight for term in objective.terms},
            history=self.source.history,
            versions=_versions(),
            step=run.document.get("step", 0),
            finished=False,
        )
        if options.align == "mt-pivot":
            run.save(translate_queries=_pivot(data))
        run.save(parameters=self._tune(clip, start, total))
        encoder, images = self._encoders(clip, data)
        trainer = Trainer(
            clip,
            encoder,
            batches,
            objective,
            recipe,
            run,
            images=images,
            validation=validation(images) if validation else None,
            teacher=teacher,
            log=Trackers(options.trackers, run, self.devices.first),
        )
        pairs_per_second = trainer.train()
        if not self.devices.first:
            sys.exit(0)  # the first process writes what is left to be written
        self._finish(clip, trainer, base, pairs_per_second)
        return self._summary()

    @property
    def _features(self) -> Path:
        return self.run_dir.path.parent / FOLDER

    @property
    def _kind(self) -> dict[str, Any]:
        return {"views": self.options.views, "pixels": self.method == "full"}

    def _store(self, clip: Clip) -> Store:
        """The features of what is trained on; sessions that need the same share them."""
        name = f"{clip.identity} {clip.tokenizer_digest} {self._features} {self._kind}"
        if name not in self.stores:
            self.stores[name] = self._together(
                lambda: features(self.source, clip, self._features, self.env, **self._kind)
            )
            give_back()
        return self.stores[name]

    def _together(self, read: Any) -> Store:
        """The first process reads and writes the store; the others open what it has written."""
        store = read() if self.devices.first else None
        self.devices.wait()
        return store or read()

    def _load(self) -> tuple[Clip, Path | None]:
        """The base model, and the folder of the adapter to start from."""
        options = self.options
        if not options.continue_from:
            return load_clip(options.model, options.pretrained, self.devices.device), None
        adapter = find_adapter(options.continue_from)
        clip = load_base(adapter, self.devices.device)
        tuning.load_image_tower(clip.model.visual, adapter.folder)
        self.method = tuning.tuning_of(adapter.folder).method
        return clip, adapter.folder

    def _same_data(self, store: Store) -> None:
        if self.run_dir.document["data"]["fingerprint"] != store.fingerprint:
            raise CapivaraError(
                f"{self.run_dir}: was trained on other data than this input",
                "choose another name with --name, or delete the folder to train anew",
            )

    def _validation(self, clip: Clip, data: TrainingData) -> Any:
        """What makes the validation, once it is known how images are encoded; None without ``--val``."""
        options = self.options
        if not options.val:
            return None
        parts = {lang: (data.store, pool) for lang, pool in data.heldout.items() if len(pool)}
        if not options.heldout:
            parts = {lang: self._val_part(clip, lang) for lang in options.languages}
        for lang in options.languages:
            if lang not in parts or len(parts[lang][1].images) < 2:
                raise CapivaraError(f"--val {options.val}: fewer than two images with a caption in {lang}")
        return lambda images: Validation(parts, images)

    def _val_part(self, clip: Clip, lang: str) -> tuple[Store, Any]:
        name = self.options.val
        env = Env(self.env.settings, "train --val")
        if name.partition(":")[0] in plugins.names("evalsets") and not Path(name).exists():
            found = plugins.load("evalsets", name, lang=lang, data="", split="val", env=env)
            source: Any = _EvalSource(found.samples)
        else:
            source = Source([name], env)
        store = self._together(lambda: features(source, clip, self._features, env, pixels=self._kind["pixels"]))
        return store, select(store, Selection([lang])).target

    def _objective(self, clip: Clip, data: TrainingData) -> Objective:
        options = self.options
        terms: list[Term] = []
        for name, weight in options.terms.items():
            if name == "auto":
                name = "clip" if getattr(clip.model, "logit_bias", None) is None else "siglip"
            if name == "distill":
                terms.append(Distill(options.distill_loss, weight))
            else:
                terms.append(ImageText(name, weight))
            if name == "siglip" and getattr(clip.model, "logit_bias", None) is None:
                clip.model.logit_bias = nn.Parameter(torch.tensor(SIGLIP_BIAS, device=clip.device))
                clip.model.logit_scale.data.fill_(SIGLIP_SCALE)
        if options.align != "none" and options.align_weight:
            terms.append(Align(options.align_loss, options.align_weight))
        if options.keep_weight and len(data.kept):
            terms.append(Keep(options.keep_weight))
        return Objective(tuple(terms))

    def _teacher(self, clip: Clip, data: TrainingData) -> Teacher:
        name = self.options.teacher
        teacher = load_clip(name, device=self.devices.device) if name else clip
        if teacher.identity["weights"] != clip.identity["weights"]:
            raise CapivaraError(
                f"--teacher {name}: its texts are near the images of another image tower than this model's",
                "the teacher and the model must share the image tower: what is learned would fit no image",
            )
        self.devices.wait()
        return Teacher(teacher, data)

    def _prepare(self, data: TrainingData) -> tuple[Batches, Recipe]:
        """The batches and the recipe as this data allows them."""
        options, seed = self.options, self.env.seed
        share = options.keep_share if options.kept else 0.0
        everything = options.text_sampling == "all"
        batches = Batches(data, options.batch_size, share, seed, every_version=everything)
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
            live_anchors=options.align_anchor == "live",
            ema=options.ema,
            val_every=options.val_every,
            patience=options.patience,
            checkpoint_every=options.checkpoint_every,
            seed=seed,
        )
        return batches, recipe

    def _tune(self, clip: Clip, start: Path | None, total: int) -> dict[str, Any]:
        """Make the text tower one of which only the tuned parameters train; returns their counts."""
        options = self.options
        if options.grad_checkpointing:
            checkpoint_gradients(clip.model.text)
        if options.temperature:
            with torch.no_grad():
                clip.model.logit_scale.fill_(-math.log(options.temperature))
        torch.manual_seed(self.env.seed)
        how = tuning.tuning_of(start) if start else options.tuning
        clip.model.text = tuning.tune(clip.model.text, how, clip.identity["model"]).to(clip.device)
        if start:
            tuning.set_state(clip.model.text, tuning.read_state(start))
        images = 0
        if how.method == "full":
            clip.model.visual.requires_grad_(True)
            images = trainable(clip.model.visual)
        named = [(name, each.numel()) for name, each in clip.model.text.named_parameters() if each.requires_grad]
        projection = sum(count for name, count in named if _OF_PROJECTION.match(name))
        norms = sum(count for name, count in named if "LayerNorm" in name)
        parts = {
            f"in {how.method}": sum(count for _, count in named) - projection - norms,
            "in the projection": projection,
            "in LayerNorms": norms,
            "in the image tower": images,
            "temperature": int(options.learn_temperature and set(options.terms) != {"distill"}),
        }
        count = sum(parts.values())
        percent = round(100 * count / total, 4)
        rows = [[name, f"{number:,}", f"{100 * number / total:.4f} %"] for name, number in parts.items() if number]
        rows.append(["all that is trained", f"{count:,}", f"{percent:.4f} %"])
        console.say(console.table(rows, ["", "parameters", "of the model"]))
        return {
            "method": how.method,
            "targets": tuning.targets(clip.model.text),
            "total": total,
            "trainable": count,
            "percent": percent,
            "parts": parts,
        }

    def _encoders(self, clip: Clip, data: TrainingData) -> tuple[Encoder, ImageEncoder | None]:
        """The tuned towers, the text tower made lean, with what memory they may take."""
        options, batch = self.options, self.run_dir.document["batch"]
        number = precision(batch.get("precision", options.precision), clip.device, clip.model.text)
        lean(clip.model.text, [data.store.tokens], number)
        if options.compile:
            compile_layers(clip.model.text)
        limit = parse_size(options.memory)
        if self.method != "full":
            clip.model.visual = nn.Identity()  # every image is a vector now: the tower's memory goes to training
        encoder = Encoder(clip, number, Budget(clip.device, limit, batch.get("chunk_tokens", 0)), self.devices)
        encoder.settle(data.store.rows(data.longest(_SAMPLE)))
        chosen = {"precision": "bf16" if number == torch.bfloat16 else "fp32"}
        images = None
        if self.method == "full":
            budget = Budget(clip.device, limit, batch.get("image_chunk_tokens", 0))
            images = ImageEncoder(clip, number, budget, self.devices)
            images.settle([data.store.pixels[image] for image in data.target.images[:_SAMPLE]])
        for name, each in (("chunk_tokens", encoder), ("image_chunk_tokens", images)):
            if each is not None:
                self._keep_chunks(name, each.budget.chunk_tokens)
        self.run_dir.save(batch={**self.run_dir.document["batch"], **chosen})
        return encoder, images

    def _keep_chunks(self, name: str, tokens: int) -> None:
        """Chunks draw their dropout each for itself: a run that goes on has the chunks it had, if there is memory."""
        batch = self.run_dir.document["batch"]
        if batch.get(name, tokens) != tokens:
            console.say(
                f"{self.run_dir}: {tokens:,} tokens at a time, not {batch[name]:,} as before, for want of memory: "
                "dropout differs from an uninterrupted run's"
            )
        self.run_dir.save(batch={**batch, name: tokens})

    def _finish(self, clip: Clip, trainer: Trainer, base: dict[str, Any], pairs_per_second: float) -> None:
        """Adapter, curve, model card, and last of all the word that the run is finished."""
        run = self.run_dir
        visual = clip.model.visual if self.method == "full" else None
        with replacing_folder(run.adapter) as folder:
            tuning.save(clip.model.text, folder, base, visual)
        metrics = run.read_metrics()
        weights = (run.adapter / tuning.WEIGHTS).read_bytes()
        bias = getattr(clip.model, "logit_bias", None)
        run.save(
            logit_scale=clip.model.logit_scale.item(),
            logit_bias=None if bias is None else bias.item(),
            adapter_sha256=hashlib.sha256(weights).hexdigest(),
            result={
                "loss_first": metrics[0]["loss"],
                "loss_last": metrics[-1]["loss"],
                "seconds": round(sum(line["timing"]["seconds"] for line in metrics), 3),
                "pairs_per_second": round(pairs_per_second, 1),
                "tokens": sum(line["tokens"] for line in metrics),
                "padded": sum(line["padded"] for line in metrics),
                "peak_bytes": max(line["timing"]["peak_bytes"] for line in metrics),
                "best_step": trainer.best.step or None,
                "val": next((line["val"] for line in metrics if line["step"] == trainer.best.step), None),
            },
            step=len(metrics),
        )
        curve.save(metrics, run.path / "curve.png", run.path.name)
        replace_text(run.path / "MODEL_CARD.md", model_card(run.document))
        run.save(finished=True)
        self._report(metrics)

    def _report(self, metrics: list[dict[str, Any]]) -> None:
        run, document = self.run_dir, self.run_dir.document
        parameters, result, batch = document["parameters"], document["result"], document["batch"]
        console.say(curve.drawn(metrics))
        console.say(
            f"trained {parameters['trainable']:,} of {parameters['total']:,} parameters "
            f"({parameters['percent']:.2f} %), {document['step']:,} steps of {batch['size']:,} pairs in "
            f"{console.duration(result['seconds'])} ({result['pairs_per_second']:,.0f} pairs/s); "
            f"loss {result['loss_first']:.3f} → {result['loss_last']:.3f}"
        )
        console.say(
            f"{result['tokens']:,} tokens, {result['padded'] / result['tokens'] - 1:.0%} more with padding; "
            f"at most {result['peak_bytes'] / 1e9:.2f} GB of memory"
        )
        if result["val"]:
            console.say(
                f"best on what was held out: step {result['best_step']:,}, mean recall {result['val']['mean']:.1f}"
            )
        console.say(f"the run is {run}/; measure it with: capivara eval {run} SHARDS")

    def _summary(self) -> dict[str, Any]:
        document, tally = self.run_dir.document, self.env.tally
        parameters, result, data = document["parameters"], document["result"], document["data"]
        return {
            "run": str(self.run_dir),
            "lang": document["request"]["lang"],
            "seed": document["request"]["seed"],
            "steps": document["step"],
            "batch_size": document["batch"]["size"],
            "loss_first": result["loss_first"],
            "loss_last": result["loss_last"],
            "val": result["val"],
            "pairs_per_second": result["pairs_per_second"],
            "trainable": parameters["trainable"],
            "total": parameters["total"],
            "trainable_percent": parameters["percent"],
            "samples": data["samples"],
            "captions": data["captions"],
            "read": tally.read,
            "dropped": dict(tally.dropped),
            "notes": dict(tally.notes),
            "inputs": self.source.shards,
        }

    def _describe(self, data: TrainingData) -> dict[str, Any]:
        described: dict[str, Any] = {
            "samples": data.samples,
            "captions": dict(sorted(data.captions.items())),
            "authors": [[language, author, count] for (language, author), count in sorted(data.authors.items())],
            "embedded_here": data.store.document["embedded_here"],
            "fingerprint": data.store.fingerprint,
        }
        if self.options.shots:
            described["shots"] = [data.store.key(image) for image in data.target.images]
        if data.heldout:
            described["heldout"] = len(np.unique(np.concatenate([pool.images for pool in data.heldout.values()])))
        return described


def _pivot(data: TrainingData) -> str:
    """The language that queries are translated into: the most frequent one among the captions that were trained on."""
    languages, counts = np.unique(data.store.lang[data.target.ids], return_counts=True)
    return data.store.languages[int(languages[counts.argmax()])]


def _versions() -> dict[str, str]:
    import open_clip
    import peft
    import transformers

    return {
        "capivara": __version__,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
