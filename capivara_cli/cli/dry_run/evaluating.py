"""Estimates ``eval``: images are embedded once, captions once per model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capivara_cli import console
from capivara_cli.cli.dry_run import trial_client
from capivara_cli.cli.dry_run.census import Census, EvalSetSource, Origin, census_of
from capivara_cli.cli.dry_run.rehearsal import EstimateRow, Rehearsal, unknown
from capivara_cli.cli.dry_run.trial_client import Tried
from capivara_cli.evaluation import catalogue
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline import source
from capivara_cli.pipeline.device import free_memory
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Step
from capivara_cli.registry import load_command
from capivara_cli.shards.inputs import find_shards


@dataclass(frozen=True)
class EvalRequest:
    """The evaluation to estimate: names of sets, shards, languages ([] for all), base model and number of models.

    ``data`` and ``split`` are the options of ``capivara eval``; ``classes``: whether it has ``--classes``.
    """

    sets: Sequence[str]
    shards: Sequence[str]
    langs: Sequence[str]
    model: str
    models: int
    data: str
    split: str
    classes: bool = False


def rehearse(request: EvalRequest, env: Env, rehearsal: Rehearsal) -> None:
    """Add a row for each set, and one for the shards."""
    for spec in request.sets:
        own = catalogue.languages(spec)
        lang = next((each for each in request.langs if each in own), "en" if "en" in own else own[0])
        tried = _tried(Origin((), (), EvalSetSource(spec, lang, request.data, request.split)), [lang], request, env)
        subject = _Subject(f"eval {spec}", tried.census, request.models, len(request.langs or own))
        _add(subject, tried, env, rehearsal)
    if request.shards:
        census = rehearsal.planned(request.shards) or census_of(_shards(request))
        rehearsal.count(request.shards, census)
        unknown_input = Tried([None, None], why="its input is not known")
        tried = _tried(census.origin, request.langs, request, env) if census.known else unknown_input
        wanted = {
            kind: count for kind, count in census.captions.items() if not request.langs or kind.lang in request.langs
        }
        _add(_Subject("eval", replace(census, captions=wanted), request.models), tried, env, rehearsal)


def _shards(request: EvalRequest) -> list[str]:
    """The shards. With names of classes, captions are not needed."""
    return find_shards(request.shards) if request.classes else source.packed_shards(request.shards)


def base_of(run: str) -> str:
    """The model that a run adapts; "" for a run that does not exist yet."""
    source = RunDir(Path(run)).document.get("base", {}).get("source", {})
    return str(source.get("model", ""))


def _tried(origin: Origin, langs: Sequence[str], request: EvalRequest, env: Env) -> Tried:
    """Try ``filter`` twice, which embeds the same images and captions with the same model.

    The second time the images have stored embeddings. That is the time of another adapter or language.
    """
    stage = load_command("filter")
    step = Step(stage, replace(stage.options(), model=request.model, lang=",".join(langs)))
    console.say(f"eval: trying it on up to {trial_client.SAMPLES} samples …")
    return trial_client.attempt(origin, [step, step], env.settings)


@dataclass(frozen=True)
class _Subject:
    """What one row estimates: shards or an eval set, and ``models``, the number of models.

    ``census``: the captions of the trial. The evaluation has ``times`` as many."""

    name: str
    census: Census | None
    models: int
    times: int = 1

    @property
    def samples(self) -> float | None:
        return self.census.samples if self.census is not None and self.census.known else None

    @property
    def captions(self) -> float:
        """Captions per sample."""
        return self.times * sum(self.census.captions.values()) if self.census is not None else 0.0


def _add(subject: _Subject, tried: Tried, env: Env, rehearsal: Rehearsal) -> None:
    samples, (first, again) = subject.samples, tried.steps
    if samples is None or first is None or again is None or not subject.captions:
        why = "it has no captions; classification is not tried" if samples and not subject.captions else tried.reason
        rehearsal.rows.append(unknown(subject.name, samples, why))
        rehearsal.remark(f"{subject.name}: could not be tried: {why}")
        return
    start = first.start * subject.models
    texts = again.seconds * (subject.models * subject.times - 1)  # the first pass includes the texts of one model
    basis = f"on {first.samples} samples, for {subject.models} model{'s' * (subject.models != 1)}"
    seconds, captions = start + samples * (first.seconds + texts), subject.captions * samples
    memory = float(tried.peak)
    row = EstimateRow(subject.name, samples, captions, seconds, "measured", basis, first.watts, memory, start=start)
    rehearsal.rows.append(row)
    rehearsal.check_memory(memory, free_memory(env.device))
