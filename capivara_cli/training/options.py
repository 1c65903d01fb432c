"""The options of a training run, in groups. Each part of the training code takes the groups that it needs.

This file must not import torch, because ``capivara train --help`` reads it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from capivara_cli.errors import UsageError
from capivara_cli.models.adapters.tuning import Tuning
from capivara_cli.models.clip_files import DEFAULT_MODEL
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import MODEL, RESULTS, SPEED, group, opt, option_fields, option_values, parsed
from capivara_cli.training.schedule import Schedule

_TERMS = ("clip", "siglip", "distill")
_TRACKERS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class Loss:
    """The terms of the loss: between captions and images, between aligned texts, and to a teacher."""

    objective: str = opt("auto", "clip, siglip, distill, or clip+distill:0.5 [default: the model's]")
    teacher: str = opt("", "for distill: a model [default: the model itself, untuned]", reads="model")
    distill_loss: Literal["mse", "cosine"] = opt("mse", "distance to the teacher")
    align: Literal["none", "native", "mt-source", "mt-pivot"] = opt("none", "routine of arXiv 2305.03510")
    align_loss: Literal["mse", "cosine", "contrastive"] = opt("mse", "their distance")
    align_weight: float = opt(0.1, "weight of the alignment", min=0)
    align_anchor: Literal["frozen", "live"] = opt("frozen", "the other text is embedded by the frozen or live model")

    @property
    def terms(self) -> dict[str, float]:
        """Term -> weight: ``clip+distill:0.5`` -> {"clip": 1.0, "distill": 0.5}; {"auto": 1.0} for auto.

        Raises ``UsageError`` for any other text, and for clip together with siglip.
        """
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
            raise UsageError(f"--objective {self.objective}: clip or siglip, because they share the temperature")
        return found

    @property
    def uses_images(self) -> bool:
        """Whether a term needs images; distillation needs only texts."""
        return set(self.terms) != {"distill"}


@dataclass(frozen=True)
class CaptionChoice:
    """Which captions and images of the data are used, and how often.

    ``shots``: images per run, 0 for all; only ``split_seed`` determines which images these are.
    """

    text_sampling: Literal["uniform", "weighted", "all"] = opt(
        "uniform", "captions per step: one (uniform, weighted), or all"
    )
    text_weights: str = opt("", "by author: human=2,argos=1,*blip2*=0.5 [default: 1]", kind=Names())
    views: int = opt(0, "augmented views of each image; 0: the image itself", min=0)
    shots: int = opt(0, "few-shot: images to train on; 0: all", min=0)
    split_seed: int = opt(42, "chooses the held-out images and the shots", min=0)

    @property
    def weights(self) -> dict[str, float]:
        """Author or pattern -> weight of its captions. Raises ``UsageError`` for any other text."""
        found = {}
        for part in parsed(self, "text_weights"):
            name, equals, weight = part.rpartition("=")
            number = _number(weight)
            if not equals or number is None or number < 0:
                raise UsageError(f"--text-weights {part}: not AUTHOR=WEIGHT", "for example human=2,argos=1")
            found[name] = number
        return found


@dataclass(frozen=True)
class ModelSelection:
    """Validation data, how often to validate, and when to stop early."""

    val: str = opt("", "a share or number of images to hold out, or shards, or an eval set", reads="files")
    val_every: int = opt(100, "steps between validations", min=1)
    patience: int = opt(0, "stop after N validations without an improvement; 0: never", min=0)

    @property
    def heldout(self) -> float:
        """The share or number of images that ``val`` holds out; 0 if it is empty or names other data."""
        return _number(self.val) or 0.0


@dataclass(frozen=True)
class KeptLanguages:
    """Captions in languages that the model already knows and should not forget."""

    keep_lang: str = opt("en", "languages that the model should not forget", kind=Languages(unlisted=True))
    keep_share: float = opt(0.15, "their share of each batch; 0: none, as in the paper", min=0, max=0.9)
    keep_weight: float = opt(4.0, "how strongly their embeddings stay near the base model's", min=0)


@dataclass(frozen=True)
class Resources:
    """Precision, memory, checkpoints and trackers."""

    precision: Literal["auto", "fp32", "bf16"] = opt("auto", "fp32, bf16; auto: bf16 where the device supports it")
    memory: str = opt("", "limit, such as 2GB [default: most of the free memory]", tuning=True)
    grad_checkpointing: bool = opt(False, "recompute activations: less memory, a third more computation", tuning=True)
    compile: bool = opt(
        False,
        "torch.compile: training starts later; slower on a CPU",
        tuning=True,
    )
    checkpoint_every: int = opt(100, "steps between checkpoints; 0: never", min=0, tuning=True)
    log: str = opt(
        "",
        "also send the metrics to tensorboard, wandb, or both",
        tuning=True,
        kind=Names(_TRACKERS, "tracker"),
    )

    @property
    def trackers(self) -> list[str]:
        """The names in ``log``."""
        return list(parsed(self, "log"))


@dataclass(frozen=True)
class Options:
    """The options of ``capivara train``.

    The defaults are the recipe of CAPIVARA + Opt (arXiv 2310.13683), except for the optimiser: AdamW with weight decay
    on matrices only, where the paper's code has an L2 penalty on everything.
    """

    lang: str = opt("", "language to learn, or several, such as hi or hi,xh", kind=Languages(unlisted=True))
    separately: bool = opt(False, "one run per language, instead of one for all")
    model: str = opt(DEFAULT_MODEL, "open_clip, hf-hub:ORG/NAME, local-dir:PATH, mclip:NAME, run or toy",
                     reads="model", panel=MODEL)  # fmt: skip
    pretrained: str = opt(
        "", "open_clip weights: a tag or a file [default: laion5b_s13b_b90k]", reads="model", panel=MODEL
    )
    continue_from: str = opt(
        "",
        "run or peft adapter to start from; it has the model and the method",
        reads="model",
        panel=MODEL,
    )
    name: str = opt("", "name of the run [default: the language]", panel=RESULTS)
    runs: str = opt("runs", "folder of all runs; --out names the run folder itself", panel=RESULTS, metavar="DIR")
    seeds: int = opt(1, "runs that differ only in the seed; results are mean ± std", min=1)
    schedule: Schedule = group(Schedule, "Schedule")
    loss: Loss = group(Loss, "Loss")
    captions: CaptionChoice = group(CaptionChoice, "Captions and images")
    selection: ModelSelection = group(ModelSelection, "Validation")
    tuning: Tuning = group(Tuning, "What is tuned")
    keep: KeptLanguages = group(KeptLanguages, "Languages not to forget")
    temperature: float = opt(0.0, "initial temperature; 0: the model's own", min=0, max=1, panel="Loss")
    learn_temperature: bool = opt(True, "train it; its inverse stays at or below 100", panel="Loss")
    resources: Resources = group(Resources, SPEED)

    def check(self) -> None:
        """Raise ``UsageError`` for options that are wrong or contradict each other, before anything is read."""
        if not self.languages:
            raise UsageError("train: which language?", "give it with --lang: capivara train shards/ --lang hi")
        terms = self.loss.terms
        if (self.captions.text_sampling == "weighted") != bool(self.captions.weights):
            raise UsageError(
                "--text-sampling weighted and --text-weights need each other",
                "for example --text-sampling weighted --text-weights human=2,argos=1",
            )
        share = _number(self.selection.val)
        if share is not None and not 0 < share < float("inf"):
            raise UsageError(f"--val {self.selection.val}: must be more than 0", "for example --val 0.05")
        if self.selection.patience and not self.selection.val:
            raise UsageError("--patience needs --val", "for example --val 0.05 --patience 5")
        self.check_method(self.tuning.peft)
        if self.loss.teacher and "distill" not in terms:
            raise UsageError("--teacher needs --objective distill", "for example --objective clip+distill:0.5")
        if self.loss.align_weight and self.loss.align != "none" and set(terms) == {"distill"}:
            raise UsageError(
                "--align needs a term with images, not only distill", "for example --objective clip+distill"
            )

    @property
    def idle_patience(self) -> str:
        """Why ``--patience`` cannot stop this run, with the numbers; "" if it can, or is not given.

        The first validation is always the best so far, so the run ends early at validation ``patience`` + 1 or later.
        """
        patience, every, steps = self.selection.patience, self.selection.val_every, self.schedule.steps
        before_last = (steps - 1) // every
        if not patience or before_last > patience:
            return ""
        fitting = (steps - 1) // (patience + 1)
        advice = f"--val-every {fitting} or less" if fitting else "a smaller --patience, or more --steps"
        return (
            f"--patience {patience} cannot end this run early: it needs {patience + 1} validations before the last "
            f"step, and with --val-every {every} and --steps {steps} there are {before_last}; try {advice}"
        )

    def check_method(self, method: str) -> None:
        """Raise ``UsageError`` for options that the method excludes; ``--continue-from`` may determine the method."""
        if method == "full" and (self.captions.views or "distill" in self.loss.terms):
            raise UsageError("--peft full trains on the images themselves: it excludes --views and distill")

    @property
    def languages(self) -> list[str]:
        """BCP-47 codes of the languages to learn."""
        return list(parsed(self, "lang"))

    @property
    def kept(self) -> list[str]:
        """The languages of the kept share of a batch, without the languages to learn."""
        keep = self.keep
        return [each for each in parsed(keep, "keep_lang") if each not in self.languages] if keep.keep_share else []

    @property
    def request(self) -> dict[str, Any]:
        """The options that determine the result, by name. Only a command with the same ones resumes a run."""
        excluded = {"name", "runs", "seeds", "separately"}
        excluded |= {each.name for each in option_fields(self) if each.metadata.get("tuning")}
        return {key: value for key, value in option_values(self).items() if key not in excluded}


def contents(options: Options) -> dict[str, str]:
    """A digest of the files that each option of a run names, by the name of the option."""
    from capivara_cli.pipeline.fingerprint import files_of_options  # a long import

    found: dict[str, list[Any]] = {}
    for name, *entry in files_of_options(options):
        found.setdefault(name, []).append(entry)
    return {name: hashlib.sha256(json.dumps(entries).encode()).hexdigest() for name, entries in found.items()}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
