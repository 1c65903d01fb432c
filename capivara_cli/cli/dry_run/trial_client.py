"""Ask a trial, and make of its answers what an estimate needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from capivara_cli.cli.dry_run.census import Kind, Origin
from capivara_cli.cli.dry_run.offline import absence
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.options import Settings, option_values
from capivara_cli.pipeline.stage import Step

SAMPLES = 32
TRAINING_SAMPLES = 64
SECONDS = 15.0
"""That a trial tries to keep to, models already loaded."""
_LIMIT = 45.0
"""Seconds after which a trial is ended, whatever it is doing."""
_SERVICES = {"caption": ("captioner",), "translate": ("translator",), "rewrite": ("rewriter", "translator")}
_ASKED = ("openai", "deepl", "libretranslate")


@dataclass(frozen=True)
class Measured:
    """A step on ``samples`` samples: seconds each, after ``start`` seconds (of which loading the model is the most).

    ``threads`` were busy on average, ``kept`` is the share of the samples that is left, ``captions`` those of one that
    is, ``growth`` the bytes it gained.
    """

    samples: int
    seconds: float
    start: float
    threads: float
    kept: float
    captions: dict[Kind, float]
    growth: float


@dataclass(frozen=True)
class Tried:
    """What a trial measured, by step; None where it did not come so far. ``why`` says what was in the way."""

    steps: list[Measured | None]
    train: dict[str, Any] | None = None
    peak: int = 0
    why: str = ""
    absent: bool = False

    def remark(self, name: str) -> str:
        return absence(self.why) if self.absent else f"{name}: could not be tried: {self.why}"


def asks_a_service(step: Step) -> bool:
    """Whether a step would send texts or images to somebody else, for money perhaps."""
    named = [str(getattr(step.options, name, "")) for name in _SERVICES.get(step.name, ())]
    return any(part.partition(":")[0] in _ASKED for name in named for part in (name, name.partition(":")[2]))


def attempt(origin: Origin, steps: Sequence[Step], settings: Settings, train: Any = None) -> Tried:
    """Run the steps, then some steps of training, on the first samples of ``origin``.

    Raises ``CapivaraError`` for what the real command would raise; what is only not on this machine is no error.
    """
    nothing: list[Measured | None] = [None] * len(steps)
    every = [*origin.steps, *steps]
    if any(map(asks_a_service, every)):
        return Tried(nothing, why="a service is not asked on trial")
    if any(getattr(step.options, "against", "") for step in every):
        return Tried(nothing, why="eval sets are not read on trial")
    request = {
        "sources": list(origin.sources),
        "before": [_described(step) for step in origin.steps],
        "steps": [_described(step) for step in steps],
        "train": option_values(train) if train else None,
        "device": settings.device,
        "seed": settings.seed,
        "count": TRAINING_SAMPLES if train else SAMPLES,
        "seconds": SECONDS,
    }
    answers, ended = _ask(request)
    found = nothing
    for answer in answers:
        if "step" in answer:
            found[answer["step"]] = _measured(answer)
        if "error" in answer:
            if answer["missing"]:
                return Tried(found, why=answer["error"], absent=True)
            raise (UsageError if answer["code"] == UsageError.exit_code else CapivaraError)(
                answer["error"], answer["hint"]
            )
    trained = next((answer for answer in answers if "train" in answer), None)
    peak = max((answer.get("peak", 0) for answer in answers), default=0)
    return Tried(found, trained, peak, ended)


def _described(step: Step) -> dict[str, Any]:
    """A step for the other process. Nothing is to be remembered of a trial, so there is no translation memory."""
    options = option_values(step.options)
    return {"step": step.name, "options": options | ({"cache": False} if "cache" in options else {})}


def _ask(request: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The answers, as far as they came, and why there are no more of them."""
    ended = ""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as out:
        environment = {**os.environ, "CAPIVARA_CACHE": folder, "HF_HUB_OFFLINE": "1"}
        environment.pop("CAPIVARA_LEDGER", None)
        words = [sys.executable, "-m", "capivara_cli.cli.dry_run.trial_process"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, env=environment, text=True
        ) as process:
            try:
                process.communicate(json.dumps(request), timeout=_LIMIT)
            except subprocess.TimeoutExpired:
                ended = f"it took more than {_LIMIT:.0f} s"
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
    captions = {Kind(lang, made): count / left for lang, made, count in after["captions"]}
    growth = after["bytes"] / left - before["bytes"] / max(1, before["samples"])
    kept = after["samples"] / max(1, before["samples"])
    samples, each, start, threads = (answer[key] for key in ("samples", "each", "start", "threads"))
    return Measured(samples, each, start, threads, kept, captions, growth)
