"""One run from its request to its folder: load, choose, tune, train, write; each departure from the request is said."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from capivara_cli import console, registry
from capivara_cli.costs import live_record
from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters import methods
from capivara_cli.models.clip import Clip, find_adapter, load_base, load_clip
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.source import Source
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.history import History
from capivara_cli.storage.files import sweep
from capivara_cli.training import finish, towers
from capivara_cli.training.data import Batches, Selection, TrainingData, select
from capivara_cli.training.devices import Devices, join
from capivara_cli.training.loop import Parts, Recipe, Trainer
from capivara_cli.training.memory import few_plans, give_back
from capivara_cli.training.objective import SIGLIP_BIAS, SIGLIP_SCALE, Align, Distill, ImageText, Keep, Objective, Term
from capivara_cli.training.optimization import capped_warmup
from capivara_cli.training.store import FOLDER, Store, features
from capivara_cli.training.teacher import Teacher
from capivara_cli.training.trackers import Trackers
from capivara_cli.training.validation import Validation
from capivara_cli.urls import public_url

T = TypeVar("T")


@dataclass(frozen=True)
class _EvalSource:
    """An eval set's samples in the form of a source of shards that cannot be told apart by their files."""

    samples: Any
    shards: tuple[str, ...] = ("-",)
    history: History = ()  # type: ignore[assignment]

    def __iter__(self) -> Stream:
        return iter(self.samples)


Timed = Callable[[str], AbstractContextManager[object]]


def _untimed(part: str) -> AbstractContextManager[object]:
    return contextlib.nullcontext()


class Session:
    """``options`` are those of ``capivara train``; the run folder says how far an earlier session came.

    ``stores``: what other sessions of the same command have read. ``timed(part)`` is entered around the parts of the
    work, "load", "features" and "train": ``--dry-run`` measures them.
    """

    def __init__(
        self, options: Any, run: RunDir, source: Source, env: Env, stores: dict[str, Store], timed: Timed = _untimed
    ) -> None:
        self.options, self.run_dir, self.source, self.env, self.stores = options, run, source, env, stores
        self.timed = timed
        self.devices = Devices(device=env.device)
        self.method = options.peft

    def run(self) -> dict[str, Any] | None:
        """Train the steps that are left; returns the summary of the run, None in all but the first process."""
        run = self.run_dir
        if self.options.memory:
            few_plans()
        self.devices = join(self.env.device)
        run.writes = self.devices.first
        if run.writes:
            sweep(run.path)
        else:
            console.be_quiet(True)
        with self.timed("load"):
            clip, start = self._load()
        with self.timed("features"):
            store = self._store(clip)
        if run.begun:
            self._same_data(store)
        if run.finished:
            console.say(f"{run}: already finished")
        else:
            with self.timed("train"):
                self._train(clip, start, store)
        return self._summary() if self.devices.first else None

    def _train(self, clip: Clip, start: Path | None, store: Store) -> None:
        options, run = self.options, self.run_dir
        data = self._select(store)
        validation = self._validation(clip, data)
        objective = self._objective(clip, data)
        teacher = self._teacher(clip, data) if objective.needs("teacher") else None
        batches, recipe = self._prepare(data)
        self._note_request(clip, data, batches, recipe, objective)
        live_record.goes_to(run=str(run))
        run.save(parameters=towers.tune(clip, options, start, self.env.seed))
        encoder, images = towers.encoders(clip, data, options, run, self.devices)
        parts = Parts(clip, encoder, batches, objective, images, validation(images) if validation else None, teacher)
        trainer = Trainer(parts, recipe, run, Trackers(options.trackers, run, self.devices.first))
        pairs_per_second = trainer.train()
        if self.devices.first:
            finish.finish(run, clip, trainer.best, pairs_per_second, images=images is not None)

    def _select(self, store: Store) -> TrainingData:
        data = select(store, self.options.selection)
        if data.left_out:
            wanted = ", ".join([*self.options.languages, *self.options.kept])
            self.env.tally.notes[f"samples without a caption in {wanted}"] = data.left_out
        return data

    def _note_request(
        self, clip: Clip, data: TrainingData, batches: Batches, recipe: Recipe, objective: Objective
    ) -> None:
        """Put into ``run.json`` what was asked, and of what base, on which data it is done."""
        run = self.run_dir
        sizes = {"size": batches.size, "kept": batches.kept_size, "warmup": recipe.warmup}
        run.save(
            name=run.path.name,
            request={**self.options.request, "seed": self.env.seed},
            base={
                "source": clip.source,
                "identity": clip.identity,
                "image": clip.identity["weights"],
                "text": clip.text_digest,
            },
            data=finish.described(data, self.options.shots),
            batch={**run.document.get("batch", {}), **sizes},
            objective={term.name: term.weight for term in objective.terms},
            history=self.source.history,
            versions=finish.versions(),
            step=run.document.get("step", 0),
            finished=False,
        )
        if self.options.align == "mt-pivot":
            run.save(translate_queries=_pivot(data))

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

    def _together(self, read: Callable[[], T]) -> T:
        """What ``read`` returns. The first process computes and writes it, the others then open what it has written."""
        found = read() if self.devices.first else None
        self.devices.wait()
        return read() if found is None else found

    def _load(self) -> tuple[Clip, Path | None]:
        """The base model, and the folder of the adapter to start from."""
        options = self.options
        if not options.continue_from:
            return load_clip(options.model, options.pretrained, self.devices.device), None
        adapter = find_adapter(options.continue_from)
        clip = load_base(adapter, self.devices.device)
        methods.load_image_tower(clip.model.visual, adapter.folder)
        self.method = methods.tuning_of(adapter.folder).method
        options.check_method(self.method)
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
        if name.partition(":")[0] in registry.names("evalsets") and not Path(name).exists():
            found = registry.load("evalsets", name, lang=lang, data="", split="val", env=env)
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
        return self._together(lambda: Teacher(teacher, data))

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
            "inputs": [public_url(shard) for shard in self.source.shards],
        }


def _pivot(data: TrainingData) -> str:
    """The language that queries are translated into: the most frequent one among the captions that were trained on."""
    languages, counts = np.unique(data.store.lang[data.target.ids], return_counts=True)
    return data.store.languages[int(languages[counts.argmax()])]
