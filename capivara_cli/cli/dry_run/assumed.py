"""Rates where nothing was measured: operations of a model over those of the device. An assumption, and called one.

Operations are twice the parameters for each token or patch; parameters and lengths are those of the models' papers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capivara_cli.cli.dry_run.census import Census
from capivara_cli.cli.dry_run.machine import Machine
from capivara_cli.models.clip_files import DEFAULT_MODEL
from capivara_cli.pipeline.stage import Step

BASE_BYTES = 0.6e9
"""Of a process with torch and its libraries."""
_TOY = "toy"
_TOY_FACTOR = 1e-3


@dataclass(frozen=True)
class Model:
    """GFLOP per image and per caption (of 16 tokens), and parameters in billions."""

    image: float
    caption: float
    parameters: float


_CAPTIONERS = {
    "blip2": Model(1500.0, 90.0, 3.75),  # ViT-g, 677 patches; OPT 2.7B: 32 + 17 tokens
    "hf": Model(100.0, 4.0, 0.25),  # BLIP base
    "toy": Model(1.0, 0.1, 0.001),
}
_TRANSLATORS = {  # one caption read, written with a beam of 4
    "argos": 0.5, "opus": 8.0, "m2m100": 45.0, "nllb": 60.0, "madlad": 300.0, "toy": 0.1, "identity": 0.001,
    "apertium": 0.02,
}  # fmt: skip
_TRANSLATOR_PARAMETERS = {"argos": 0.065, "opus": 0.075, "m2m100": 0.42, "nllb": 0.6, "madlad": 3.0}
_REWRITERS = {"llm": 3000.0, "eda": 0.008, "toy": 0.2}
_REWRITER_PARAMETERS = {"llm": 7.0}
_CLIPS = {
    DEFAULT_MODEL: Model(8.8, 2.7, 0.366),
    "xlm-roberta-large-ViT-H-14": Model(335.0, 9.7, 1.19),
    "toy": Model(0.05, 0.01, 0.001),
}
_PASSING = 15_000.0
"""Samples per second and core of a stage that has no model: reading and writing."""
_THINNED = 1_500.0
_DECODED = 400.0
_SERVICE = 2.0
"""Seconds a service takes to answer."""


@dataclass(frozen=True)
class Assumed:
    """Seconds per sample, resident bytes of the models, and on what that is based."""

    seconds: float
    memory: float
    basis: str


def assumed(step: Step, census: Census, captions: float, machine: Machine) -> Assumed:
    """What a step is taken to need. ``captions``: those it makes or judges, per sample of ``census``."""
    rule = _RULES.get(step.name)
    if rule is None:
        return Assumed(1 / (_PASSING * machine.cores), 0.0, "no model: as fast as shards are read and written")
    return rule(step.options, census, captions, machine)


def clip_model(name: str) -> Model:
    """The figures of a CLIP model; those of the default one for what is not in the table."""
    return _CLIPS.get(name, _CLIPS[DEFAULT_MODEL])


def bytes_of(parameters: float, machine: Machine) -> float:
    """Weights of so many billions of parameters: float16 on a GPU, float32 elsewhere."""
    return parameters * 1e9 * (2 if machine.device.startswith("cuda") else 4)


def _by_flops(gflop: float, parameters: float, machine: Machine, of: str) -> Assumed:
    basis = f"{gflop:,.3g} GFLOP per image ({of}) at {machine.flops / 1e12:,.3g} TFLOP/s ({machine.name})"
    return Assumed(gflop * 1e9 / machine.flops, bytes_of(parameters, machine), basis)


def _by_service(captions: float, options: Any, name: str) -> Assumed:
    basis = f"{name}: {options.concurrency} requests at once, {_SERVICE:.0f} s each"
    return Assumed(captions * _SERVICE / options.concurrency, 0.0, basis)


def _caption(options: Any, census: Census, captions: float, machine: Machine) -> Assumed:
    name = options.captioner.partition(":")[0]
    if name == "openai":
        return _by_service(captions, options, name)
    model = _CAPTIONERS.get(name, _CAPTIONERS["blip2"])
    return _by_flops(model.image + captions * model.caption, model.parameters, machine, options.captioner)


def _translate(options: Any, census: Census, captions: float, machine: Machine) -> Assumed:
    name = options.translator.partition(":")[0]
    if name in ("deepl", "libretranslate"):
        return _by_service(captions, options, name)
    gflop = _TRANSLATORS.get(name, _TRANSLATORS["argos"])
    parameters = _TRANSLATOR_PARAMETERS.get(name, 0.001 if name == _TOY else 0.065) * len(options.targets)
    return _by_flops(captions * gflop, parameters, machine, options.translator)


def _rewrite(options: Any, census: Census, captions: float, machine: Machine) -> Assumed:
    name = options.rewriter.partition(":")[0]
    if name == "openai":
        return _by_service(captions, options, name)
    if name == "back-translation":
        return _by_flops(2 * captions * _TRANSLATORS.get(options.translator, 0.5), 0.13, machine, options.translator)
    return _by_flops(
        captions * _REWRITERS.get(name, _REWRITERS["llm"]), _REWRITER_PARAMETERS.get(name, 0.0), machine, name
    )


def _filter(options: Any, census: Census, captions: float, machine: Machine) -> Assumed:
    if not options.score:
        return Assumed(1 / (_THINNED * machine.cores), 0.0, "no model: rules and scores that are there")
    model = clip_model(options.model)
    image = model.image * (1 - sum(census.embedded.values()))
    return _by_flops(image + captions * model.caption, model.parameters, machine, options.model)


def _dedupe(options: Any, census: Census, captions: float, machine: Machine) -> Assumed:
    if options.images == "embedding" and not census.embedded:
        model = clip_model(options.model)
        return _by_flops(model.image, model.parameters, machine, options.model)
    return Assumed(1 / (_THINNED * machine.cores), 0.0, "no model: captions and images are compared")


def _pack(options: Any, census: Census, captions: float, machine: Machine) -> Assumed:
    rate = _DECODED if options.verify else _PASSING
    return Assumed(1 / (rate * machine.cores), 0.0, "every image is decoded" if options.verify else "files are copied")


_RULES: dict[str, Callable[[Any, Census, float, Machine], Assumed]] = {
    "caption": _caption,
    "translate": _translate,
    "rewrite": _rewrite,
    "filter": _filter,
    "dedupe": _dedupe,
    "pack": _pack,
}
