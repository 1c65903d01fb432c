"""One training run: load the model, choose the captions, train, write the run folder.

A run that differs from the options, for example by a smaller batch, tells the user.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from capivara_cli import console
from capivara_cli.errors import CapivaraError, resumable
from capivara_cli.languages import code_of
from capivara_cli.models.adapters import methods
from capivara_cli.models.clip import Clip, find_adapter, load_base, load_clip
from capivara_cli.models.run_document import BatchSettings
from capivara_cli.models.run_folder import ANOTHER_RUN, RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.source import Source
from capivara_cli.storage.files import sweep
from capivara_cli.storage.shared_folders import waiting_turn
from capivara_cli.training import finish, towers
from capivara_cli.training.data import Batches, CaptionPool, TrainingData, select
from capivara_cli.training.devices import Devices, join
from capivara_cli.training.encoder import ImageEncoder
from capivara_cli.training.loop import Trainer, TrainerInputs
from capivara_cli.training.memory import return_freed_memory, shrink_onednn_cache
from capivara_cli.training.objective import SIGLIP_BIAS, SIGLIP_SCALE, Align, Distill, ImageText, Keep, Objective, Term
from capivara_cli.training.options import Options
from capivara_cli.training.store import FOLDER, FeatureStore, features
from capivara_cli.training.teacher import Teacher
from capivara_cli.training.trackers import Trackers
from capivara_cli.training.validation import Validation
from capivara_cli.training.validation_source import validation_source
from capivara_cli.urls import public_url

T = TypeVar("T")
_MOST_VISITS = 30
"""A caption that is drawn more often in a training is learned by heart."""


Timed = Callable[[str], AbstractContextManager[object]]


def _untimed(part: str) -> AbstractContextManager[object]:
    return contextlib.nullcontext()


class Session:
    """One run with the options of ``capivara train``, which resumes an earlier session in the run folder.

    ``stores``: feature stores that other sessions of the same command have opened. ``timed``: returns a context for
    each part of the work, "load", "features" and "train", which ``--dry-run`` measures.
    """

    def __init__(
        self,
        options: Options,
        run: RunDir,
        source: Source,
        env: Env,
        stores: dict[str, FeatureStore],
        timed: Timed = _untimed,
    ) -> None:
        self.options, self.run_dir, self.source, self.env, self.stores = options, run, source, env, stores
        self.timed = timed
        self.devices = Devices(device=env.device)
        self.method = options.tuning.peft
        self._up_to_date = False

    def run(self) -> dict[str, Any] | None:
        """Take the remaining steps; returns the summary of the run, or None in all processes but the first.

        Raises ``CapivaraError`` if the folder holds a run on other data, and for data that does not fit the options.
        """
        run = self.run_dir
        if self.options.resources.memory:
            shrink_onednn_cache()
        self.devices = join(self.env.device)
        run.writes = self.devices.first
        if not run.writes:
            console.be_quiet(True)
        with resumable(self._saved), self._alone():
            if run.writes:
                sweep(run.path)
            with self.timed("load"):
                clip, start = self._load()
            with self.timed("features"):
                store = self._store(clip)
            if run.begun:
                self._check_unchanged(clip, store)
            damage = run.damage() if run.finished else ""
            if run.finished and not damage:
                console.say(f"{run}: already finished")
                self._up_to_date = True
            else:
                if damage:
                    console.warn(f"{damage}: the adapter is made again")
                with self.timed("train"):
                    self._train(clip, start, store)
        return self._summary() if self.devices.first else None

    def _saved(self) -> str:
        """What a stopped run has stored, in words; "" without a checkpoint."""
        steps = self.run_dir.checkpoint_steps()
        return f"{self.run_dir} is saved at step {steps[-1]:,}" if steps else ""

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for another command that trains this run, then read again how far it is.

        A finished run without damage is only read.
        """
        run = self.run_dir
        if not self.devices.any(not run.finished or bool(run.damage())):
            yield
            return
        with waiting_turn(run.path) if run.writes else contextlib.nullcontext():
            if run.outdated and run.writes:
                run.clear()
            self.devices.wait()
            run.reload()
            yield

    def _check_unchanged(self, clip: Clip, store: FeatureStore) -> None:
        """Raise ``CapivaraError`` if the run was begun on another model or other data; ``--overwrite`` clears it."""
        try:
            self._check_base(clip)
            self._check_data(store)
        except CapivaraError:
            if not self.env.settings.overwrite:
                raise
            self.devices.wait()
            if self.run_dir.writes:
                self.run_dir.clear()
            self.run_dir.document = {}
            self.devices.wait()

    def _train(self, clip: Clip, start: Path | None, store: FeatureStore) -> None:
        options, run = self.options, self.run_dir
        data = self._select(store)
        validation = self._validation(clip, data)
        objective = self._objective(clip, data)
        teacher = self._teacher(clip, data) if objective.needs("teacher") else None
        batches = self._batches(data)
        self._note_request(clip, data, batches, objective)
        self.env.costs.record_result_at(run=str(run))
        run.save(parameters=towers.tune(clip, options, start, self.env.seed))
        encoder, images = towers.encoders(clip, data, options.resources, run, self.devices)
        parts = TrainerInputs(
            clip, encoder, batches, objective, images, validation(images) if validation else None, teacher
        )
        trackers = Trackers(options.resources.trackers, run, self.devices.first)
        trainer = Trainer(parts, options, self.env.seed, run, trackers)
        pairs_per_second = trainer.train()
        if self.devices.first:
            finish.finish(run, clip, trainer.best, pairs_per_second, images=images is not None)

    def _select(self, store: FeatureStore) -> TrainingData:
        options = self.options
        heldout = options.selection.heldout
        data = select(store, options.languages, options.kept, options.captions, options.loss, heldout)
        if data.n_unused:
            wanted = ", ".join([*options.languages, *options.kept])
            self.env.tally.notes[f"samples without a caption in {wanted}"] = data.n_unused
        return data

    def _note_request(self, clip: Clip, data: TrainingData, batches: Batches, objective: Objective) -> None:
        """Write the request, the base model and the data into ``run.json``."""
        run = self.run_dir
        sizes: BatchSettings = {
            "size": batches.size,
            "kept": batches.kept_size,
            "warmup": self.options.schedule.warmup_steps,
        }
        run.save(
            name=run.path.name,
            request={**self.options.request, "seed": self.env.seed},
            contents=run.contents,
            base={
                "source": clip.source,
                "identity": clip.identity.to_json(),
                "image": clip.identity.weights,
                "text": clip.text_digest,
            },
            data=finish.data_summary(data, self.options.captions.shots),
            batch={**run.document.get("batch", {}), **sizes},
            objective={term.name: term.weight for term in objective.terms},
            history=self.source.history,
            versions=finish.versions(),
            step=run.document.get("step", 0),
            finished=False,
        )
        if self.options.loss.align == "mt-pivot":
            run.save(translate_queries=_pivot(data))

    @property
    def _features(self) -> Path:
        return self.run_dir.path.parent / FOLDER

    @property
    def _pixels(self) -> bool:
        """Whether the image tower is trained too, which needs pixels instead of vectors."""
        return self.method == "full"

    def _store(self, clip: Clip) -> FeatureStore:
        """The feature store of the input; sessions that need the same features share it."""
        views = self.options.captions.views
        name = f"{clip.identity} {clip.tokenizer_digest} {self._features} {views} {self._pixels}"
        if name not in self.stores:
            self.stores[name] = self._first_process_first(
                lambda: features(self.source, clip, self._features, self.env, views=views, pixels=self._pixels)
            )
            return_freed_memory()
        return self.stores[name]

    def _first_process_first(self, read: Callable[[], T]) -> T:
        """The result of ``read``, which the first process computes and writes; then the others read it."""
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
        self.method = methods.tuning_of(adapter.folder).peft
        options.check_method(self.method)
        return clip, adapter.folder

    def _check_base(self, clip: Clip) -> None:
        """Raise ``CapivaraError`` if the base model is not the one on which the run was begun."""
        known = self.run_dir.required("base")
        now = {"image tower": clip.identity.weights, "text tower": clip.text_digest,
               "preprocessing": clip.identity.preprocess}  # fmt: skip
        before = (known["image"], known["text"], known["identity"].get("preprocess"))
        for (part, value), old in zip(now.items(), before, strict=True):
            if value != old:
                raise CapivaraError(
                    f"{self.run_dir}: was trained on {known['source'].get('model')}, whose {part} has changed",
                    ANOTHER_RUN,
                )

    def _check_data(self, store: FeatureStore) -> None:
        if self.run_dir.required("data")["fingerprint"] != store.fingerprint:
            raise CapivaraError(
                f"{self.run_dir}: was trained on other data",
                ANOTHER_RUN,
            )

    def _validation(self, clip: Clip, data: TrainingData) -> Callable[[ImageEncoder | None], Validation] | None:
        """A function that makes the validation from the encoder of images (None if images are stored vectors).

        None without ``--val``. Raises ``CapivaraError`` for a language with fewer than two images.
        """
        options, val = self.options, self.options.selection.val
        if not val:
            return None
        parts = {lang: (data.store, pool) for lang, pool in data.heldout.items() if len(pool)}
        if not options.selection.heldout:
            parts = {lang: self._val_part(clip, lang) for lang in options.languages}
        for lang in options.languages:
            if lang not in parts or len(parts[lang][1].images) < 2:
                raise CapivaraError(f"--val {val}: fewer than two images with a caption in {lang}")
        return lambda images: Validation(parts, images)

    def _val_part(self, clip: Clip, lang: str) -> tuple[FeatureStore, CaptionPool]:
        """The features and captions of the shards or the eval set that ``--val`` names."""
        env = Env(self.env.settings, "train --val")
        source: Any = validation_source(self.options.selection.val, lang, env)
        store = self._first_process_first(lambda: features(source, clip, self._features, env, pixels=self._pixels))
        return store, select(store, [lang]).target

    def _objective(self, clip: Clip, data: TrainingData) -> Objective:
        """The terms of the options. For siglip, a model without a bias gets SigLIP's initial temperature and bias."""
        loss, keep_weight = self.options.loss, self.options.keep.keep_weight
        terms: list[Term] = []
        for name, weight in loss.terms.items():
            if name == "auto":
                name = "clip" if getattr(clip.model, "logit_bias", None) is None else "siglip"
            if name == "distill":
                terms.append(Distill(loss.distill_loss, weight))
            else:
                terms.append(ImageText(name, weight))
            if name == "siglip" and getattr(clip.model, "logit_bias", None) is None:
                clip.model.logit_bias = nn.Parameter(torch.tensor(SIGLIP_BIAS, device=clip.device))
                clip.model.logit_scale.data.fill_(SIGLIP_SCALE)
        if loss.align != "none" and loss.align_weight:
            terms.append(Align(loss.align_loss, loss.align_weight))
        if keep_weight and len(data.kept):
            terms.append(Keep(keep_weight))
        return Objective(tuple(terms))

    def _teacher(self, clip: Clip, data: TrainingData) -> Teacher:
        name = self.options.loss.teacher
        teacher = load_clip(name, device=self.devices.device) if name else clip
        if teacher.identity.weights != clip.identity.weights:
            raise CapivaraError(
                f"--teacher {name}: its image tower is not that of this model",
                "they must share the image tower, because the texts learn to be near its images",
            )
        return self._first_process_first(lambda: Teacher(teacher, data))

    def _batches(self, data: TrainingData) -> Batches:
        """The batches that this data allows. Tells the user if they or the warm-up are smaller than the options."""
        options, schedule = self.options, self.options.schedule
        share = options.keep.keep_share if options.kept else 0.0
        every_version = options.captions.text_sampling == "all"
        batches = Batches(data, schedule.batch_size, share, self.env.seed, every_version=every_version)
        if batches.size < 2:
            raise CapivaraError("a contrastive loss needs at least two images")
        if batches.size < schedule.batch_size:
            console.say(
                f"batches have {batches.size:,} pairs instead of {schedule.batch_size:,}: there are too few images"
            )
        if options.kept and not batches.kept_size:
            console.say(f"no captions in {', '.join(options.kept)}, so the model may forget these languages")
        self._warn_of_repetition(batches.size, len(data.target))
        warmup = schedule.warmup_steps
        if warmup < schedule.warmup:
            console.say(f"warm-up of {warmup} steps, not {schedule.warmup}: there are {schedule.steps:,} steps in all")
        return batches

    def _warn_of_repetition(self, size: int, captions: int) -> None:
        """Warn if ``captions`` are learned by heart: each is drawn far more often than helps."""
        steps, enough = self.options.schedule.steps, max(1, _MOST_VISITS * captions // size)
        if steps * size > _MOST_VISITS * captions:
            console.warn_once(
                f"{steps:,} steps of {size:,} pairs show each of {captions:,} captions "
                f"{steps * size / max(1, captions):,.0f} times, so the model may learn them by heart",
                f"{_MOST_VISITS} times are --steps {enough}; --val 0.1 keeps the best step; or use more captions",
            )

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
            **({"up_to_date": True} if self._up_to_date else {}),  # which cli.perform takes out
        }


def _pivot(data: TrainingData) -> str:
    """The language into which queries must be translated: the most frequent one of the training captions."""
    codes = [code_of(lang) for lang in data.store.languages]
    counts = Counter(codes[lang] for lang in data.store.lang[data.target.ids].tolist())
    return counts.most_common(1)[0][0]
