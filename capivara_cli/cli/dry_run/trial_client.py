"""Runs a trial in a separate process, and turns its output into the values of an estimate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from capivara_cli.cli.dry_run.census import CaptionKind, Census, Origin
from capivara_cli.cli.dry_run.offline import missing_remark
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.options import Settings, option_values
from capivara_cli.pipeline.stage import Step

SAMPLES = 32
TRAINING_SAMPLES = 64
SECONDS = 15.0
"""Target time of a trial, without loading models."""
_LIMIT = 45.0
"""Seconds after which a trial is killed."""
_PROGRAM = [sys.executable, "-m", "capivara_cli.cli.dry_run.trial_process"]
_SERVICES = {"caption": ("captioner",), "translate": ("translator",), "rewrite": ("rewriter", "translator")}
_SERVICE_PLUGINS = ("openai", "deepl", "libretranslate")


@dataclass(frozen=True)
class StepTrial:
    """A step tried on ``samples`` samples: ``seconds`` per sample, ``start`` seconds before the first, mean ``watts``.

    ``kept`` is the share of samples that the step kept. A kept sample has ``captions`` of each kind on average, and is
    ``growth`` bytes larger than before.
    """

    samples: int
    seconds: float
    start: float
    watts: float
    kept: float
    captions: dict[CaptionKind, float]
    growth: float


class TrainingTrial(TypedDict):
    """Some steps of training on ``samples`` samples. Times are in seconds, sizes in bytes."""

    samples: int
    loading: float
    features: float
    steps: list[float]
    """Time of each step of ``pairs`` pairs, without the first step."""
    pairs: int
    watts: float
    store_bytes: int
    run_bytes: int
    """The run folder without checkpoints."""
    checkpoint_bytes: int
    peak: int


@dataclass(frozen=True)
class Tried:
    """The result of a trial, by step; None for steps that it did not reach, for the reason ``why``.

    ``peak``: its peak memory in bytes. ``census``: the samples of the eval set that it read.
    """

    steps: list[StepTrial | None]
    train: TrainingTrial | None = None
    peak: int = 0
    why: str = ""
    absent: bool = False
    census: Census | None = None

    @property
    def reason(self) -> str:
        """The reason for steps that were not measured."""
        return missing_remark(self.why) if self.absent else self.why or "too few samples to measure"


def asks_a_service(step: Step) -> bool:
    """Whether a step sends texts or images to a service, which may cost money."""
    named = [str(getattr(step.options, name, "")) for name in _SERVICES.get(step.name, ())]
    return any(part.partition(":")[0] in _SERVICE_PLUGINS for name in named for part in (name, name.partition(":")[2]))


def attempt(origin: Origin, steps: Sequence[Step], settings: Settings, train: Any = None) -> Tried:
    """Run the steps, then some steps of training if ``train`` has its options, on the first samples of ``origin``.

    Raises the ``CapivaraError`` that the real command would raise. A model that must be downloaded first is no error:
    then the result has the reason.
    """
    every = [*origin.steps, *steps]
    if any(map(asks_a_service, every)):
        return Tried([None] * len(steps), why="services are not called in a trial")
    request = {
        "sources": list(origin.sources),
        "evalset": origin.evalset._asdict() if origin.evalset else None,
        "before": [_as_json(step) for step in origin.steps],
        "steps": [_as_json(step) for step in steps],
        "train": option_values(train) if train else None,
        "device": settings.device,
        "seed": settings.seed,
        "count": TRAINING_SAMPLES if train else SAMPLES,
        "seconds": SECONDS,
    }
    answers, ended = _ask(request)
    found: list[StepTrial | None] = [None] * len(steps)
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


def _as_json(step: Step) -> dict[str, Any]:
    """A step for the other process.

    A trial writes no translation cache and reads no eval sets: ``dedupe --against`` would read all of them.
    """
    replaced = {"cache": False, "against": ""}
    options = option_values(step.options)
    return {"step": step.name, "options": options | {key: replaced[key] for key in replaced if key in options}}


def _ask(request: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Run a trial; return its answers, and the reason if it ended early."""
    ended = ""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as out:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        environment.pop("CAPIVARA_LEDGER", None)
        if request["evalset"] is None:  # a trial may read eval sets from the user's cache, but not write to it
            environment["CAPIVARA_CACHE"] = folder
        with subprocess.Popen(
            _PROGRAM, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, env=environment, text=True
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


def _measured(answer: dict[str, Any]) -> StepTrial:
    before, after = answer["before"], answer["after"]
    left = max(1, after["samples"])
    growth = after["bytes"] / left - before["bytes"] / max(1, before["samples"])
    kept = after["samples"] / max(1, before["samples"])
    samples, each, start, watts = (answer[key] for key in ("samples", "each", "start", "watts"))
    return StepTrial(samples, each, start, watts, kept, _captions(after), growth)


def _captions(means: dict[str, Any]) -> dict[CaptionKind, float]:
    """Captions per sample, by kind."""
    return {CaptionKind(lang, author): count / max(1, means["samples"]) for lang, author, count in means["captions"]}


def _census(answer: dict[str, Any], origin: Origin) -> Census:
    """All samples of an eval set, with the captions of the first ones."""
    means = answer["means"]
    each = means["bytes"] / max(1, means["samples"])
    return Census((float(answer["counted"]),), each, _captions(means), "counted", origin)
