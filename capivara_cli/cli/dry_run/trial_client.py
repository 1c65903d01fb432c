"""Start a trial in a process of its own, and make of its answers what an estimate needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from capivara_cli.cli.dry_run.census import CAPTION_BYTES, Census, Kind, Origin
from capivara_cli.cli.dry_run.offline import absence
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.options import Settings, option_values
from capivara_cli.pipeline.stage import Step

SAMPLES = 32
TRAINING_SAMPLES = 64
SECONDS = 15.0
"""How long a trial should take, models already loaded."""
_LIMIT = 45.0
"""Seconds after which a trial is ended, whatever it is doing."""
_SERVICES = {"caption": ("captioner",), "translate": ("translator",), "rewrite": ("rewriter", "translator")}
_ASKED = ("openai", "deepl", "libretranslate")


@dataclass(frozen=True)
class Measured:
    """A step on ``samples`` samples: seconds for each, after ``start`` seconds (mostly to load the model), and watts.

    ``kept`` is the share of the samples that is left, ``captions`` those of a sample that is left, ``growth`` the bytes
    that it gained.
    """

    samples: int
    seconds: float
    start: float
    watts: float
    kept: float
    captions: dict[Kind, float]
    growth: float


class TrainingTrial(TypedDict):
    """Some steps of training on ``samples`` samples. Times are in seconds, sizes in bytes."""

    samples: int
    loading: float
    features: float
    steps: list[float]
    """The time of each step of ``pairs`` pairs, after the first."""
    pairs: int
    watts: float
    store_bytes: int
    run_bytes: int
    """The run folder without checkpoints."""
    checkpoint_bytes: int
    peak: int


@dataclass(frozen=True)
class Tried:
    """What a trial measured, by step; None where it did not get so far. ``why`` says what stopped it.

    ``peak``: the most memory it took, in bytes. ``census``: what is in the eval set that it read.
    """

    steps: list[Measured | None]
    train: TrainingTrial | None = None
    peak: int = 0
    why: str = ""
    absent: bool = False
    census: Census | None = None

    @property
    def reason(self) -> str:
        """Why not all of it was measured."""
        return absence(self.why) if self.absent else self.why or "too few samples to measure"


def asks_a_service(step: Step) -> bool:
    """Whether a step would send texts or images to a service, which may cost money."""
    named = [str(getattr(step.options, name, "")) for name in _SERVICES.get(step.name, ())]
    return any(part.partition(":")[0] in _ASKED for name in named for part in (name, name.partition(":")[2]))


def attempt(origin: Origin, steps: Sequence[Step], settings: Settings, train: Any = None) -> Tried:
    """Run the steps, then some steps of training, on the first samples of ``origin``.

    Raises ``CapivaraError`` for what the real command would raise. A model that is only not on this machine yet is no
    error: then ``why`` says so.
    """
    every = [*origin.steps, *steps]
    if any(map(asks_a_service, every)):
        return Tried([None] * len(steps), why="a service is not asked on trial")
    request = {
        "sources": list(origin.sources),
        "evalset": origin.evalset._asdict() if origin.evalset else None,
        "before": [_described(step) for step in origin.steps],
        "steps": [_described(step) for step in steps],
        "train": option_values(train) if train else None,
        "device": settings.device,
        "seed": settings.seed,
        "count": TRAINING_SAMPLES if train else SAMPLES,
        "seconds": SECONDS,
    }
    answers, ended = _ask(request)
    found: list[Measured | None] = [None] * len(steps)
    census = None
    for answer in answers:
        if "step" in answer:
            found[answer["step"]] = _measured(answer)
        if "counted" in answer:
            census = _census(answer, origin)
        if "error" in answer:
            if answer["missing"]:
                return Tried(found, why=answer["error"], absent=True, census=census)
            raise (UsageError if answer["code"] == UsageError.exit_code else CapivaraError)(
                answer["error"], answer["hint"]
            )
    trained = next((answer["train"] for answer in answers if "train" in answer), None)
    peak = max((answer.get("peak", 0) for answer in answers), default=0)
    return Tried(found, trained, max(peak, trained["peak"] if trained else 0), ended, census=census)


def _described(step: Step) -> dict[str, Any]:
    """A step for the other process.

    A trial writes no translation memory and reads no eval sets: ``dedupe --against`` would read all of them.
    """
    aside = {"cache": False, "against": ""}
    options = option_values(step.options)
    return {"step": step.name, "options": options | {key: aside[key] for key in aside if key in options}}


def _ask(request: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The answers that came, and why there are no more of them."""
    ended = ""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as out:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        environment.pop("CAPIVARA_LEDGER", None)
        if request["evalset"] is None:  # an eval set is read from the user's cache; nothing else may write there
            environment["CAPIVARA_CACHE"] = folder
        words = [sys.executable, "-m", "capivara_cli.cli.dry_run.trial_process"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, env=environment, text=True
        ) as process:
            try:
                process.communicate(json.dumps(request), timeout=_LIMIT)
            except subprocess.TimeoutExpired:
                ended = f"a trial took more than {_LIMIT:.0f} s"
            finally:
                process.kill()
        if not ended and process.returncode:
            ended = "the trial failed"
        out.seek(0)
        lines = [line for line in out.read().splitlines() if line.startswith("{") and line.endswith("}")]
    return [json.loads(line) for line in lines], ended


def _measured(answer: dict[str, Any]) -> Measured:
    before, after = answer["before"], answer["after"]
    left = max(1, after["samples"])
    growth = after["bytes"] / left - before["bytes"] / max(1, before["samples"])
    kept = after["samples"] / max(1, before["samples"])
    samples, each, start, watts = (answer[key] for key in ("samples", "each", "start", "watts"))
    return Measured(samples, each, start, watts, kept, _captions(after), growth)


def _captions(means: dict[str, Any]) -> dict[Kind, float]:
    """Captions of a sample, by kind."""
    return {Kind(lang, made): count / max(1, means["samples"]) for lang, made, count in means["captions"]}


def _census(answer: dict[str, Any], origin: Origin) -> Census:
    """All samples of an eval set, with the captions of the first ones."""
    means = answer["means"]
    each = means["bytes"] / max(1, means["samples"])
    return Census((float(answer["counted"]),), each, _captions(means), "counted", origin, CAPTION_BYTES)
