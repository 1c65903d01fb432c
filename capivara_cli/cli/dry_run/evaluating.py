"""What evaluating would take: images embedded once, captions once by each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capivara_cli import console
from capivara_cli.cli.dry_run import trial_client
from capivara_cli.cli.dry_run.assumed import BASE_BYTES, bytes_of, clip_model
from capivara_cli.cli.dry_run.census import Census, Kind, Origin, census_of
from capivara_cli.cli.dry_run.machine import Machine, machine
from capivara_cli.cli.dry_run.rehearsal import Rehearsal, Row
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Step
from capivara_cli.registry import load_command
from capivara_cli.shards.inputs import find_shards

_SIZES = {
    "toy": (300, 1), "flickr30k": (1000, 5), "multi30k": (1000, 1), "mscoco": (5000, 5), "xtd": (1000, 1),
    "crossmodal3600": (3600, 2), "pracegover": (5000, 1), "fm30k": (1000, 5), "babel-imagenet": (50_000, 0),
}  # fmt: skip
"""Images of the test split, and captions of each in one language."""
_UNKNOWN = (5000, 0)


@dataclass(frozen=True)
class Asked:
    """What is evaluated: names of sets, shards, languages ([] for all there are), model and number of models."""

    sets: Sequence[str]
    shards: Sequence[str]
    langs: Sequence[str]
    model: str
    models: int


def rehearse(asked: Asked, env: Env, rehearsal: Rehearsal) -> None:
    """A row for each set, and one for the shards."""
    where = machine(env.device)
    for spec in asked.sets:
        rehearsal.rows.append(_row(f"eval {spec}", _named(spec, asked, rehearsal), asked, None, where))
    if asked.shards:
        census = rehearsal.planned(asked.shards) or census_of(find_shards(asked.shards))
        rehearsal.count(asked.shards, census)
        rehearsal.rows.append(_row("eval", census, asked, _tried(census, asked, env, rehearsal), where))


def base_of(run: str) -> str:
    """The model that a run adapts; "" for a run that is not there yet."""
    source = RunDir(Path(run)).document.get("base", {}).get("source", {})
    return str(source.get("model", ""))


def _named(spec: str, asked: Asked, rehearsal: Rehearsal) -> Census:
    name, _, variant = spec.partition(":")
    images, captions = _SIZES.get(name, _UNKNOWN)
    if name not in _SIZES:
        rehearsal.remark(f"eval {spec}: how large it is, is not known before it is read; taken to be {images:,} images")
    if name == "toy" and variant.isdecimal():
        images = int(variant)
    kinds = {Kind(lang, ""): float(captions) for lang in (asked.langs or ["en"])}
    return Census((float(images),), 0.0, kinds, "planned", Origin(()))


def _tried(census: Census, asked: Asked, env: Env, rehearsal: Rehearsal) -> trial_client.Measured | None:
    """``filter`` embeds the same images and captions by the same model."""
    stage = load_command("filter")
    langs = ",".join(asked.langs)
    options = replace(stage.options(), model=asked.model, lang=langs)
    console.say(f"eval: trying it on up to {trial_client.SAMPLES} samples …")
    tried = trial_client.attempt(census.origin, [Step(stage, options)], env.settings)  # type: ignore[arg-type]
    if tried.why:
        rehearsal.remark(tried.remark("eval"))
    return tried.steps[0]


def _row(name: str, census: Census, asked: Asked, measured: trial_client.Measured | None, where: Machine) -> Row:
    captions = sum(count for kind, count in census.captions.items() if not asked.langs or kind.lang in asked.langs)
    model = clip_model(asked.model)
    texts, image = captions * model.caption, model.image * (1 - min(1.0, sum(census.embedded.values())))
    memory = BASE_BYTES + asked.models * bytes_of(model.parameters, where)
    total = captions * census.samples
    if measured is not None:
        again = (asked.models - 1) * texts / max(texts + image, 1e-9)
        start = measured.start * asked.models
        seconds = start + census.samples * measured.seconds * (1 + again)
        basis = f"on {measured.samples} of your samples, for {asked.models} models, {where.device}"
        return Row(
            name, census.samples, total, seconds, "measured", basis, where.watts(memory, measured.threads), memory
        )
    gflop = image + asked.models * texts
    basis = f"{gflop:,.3g} GFLOP per image, {asked.models} models, at {where.flops / 1e12:,.3g} TFLOP/s ({where.name})"
    seconds = census.samples * gflop * 1e9 / where.flops
    return Row(name, census.samples, total, seconds, "assumed", basis, where.watts(memory), memory)
