"""What evaluating would take: images are embedded once, captions once by each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capivara_cli import console
from capivara_cli.cli.dry_run import trial_client
from capivara_cli.cli.dry_run.census import Census, EvalSetSource, Origin, census_of
from capivara_cli.cli.dry_run.machine import free_memory
from capivara_cli.cli.dry_run.rehearsal import Rehearsal, Row, unknown
from capivara_cli.cli.dry_run.trial_client import Tried
from capivara_cli.evaluation import catalogue
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Step
from capivara_cli.registry import load_command
from capivara_cli.shards.inputs import find_shards


@dataclass(frozen=True)
class Asked:
    """What is evaluated: names of sets, shards, languages ([] for all there are), model and number of models.

    ``data`` and ``split`` say where the sets are and which part of them is meant, as in ``capivara eval``.
    """

    sets: Sequence[str]
    shards: Sequence[str]
    langs: Sequence[str]
    model: str
    models: int
    data: str
    split: str


def rehearse(asked: Asked, env: Env, rehearsal: Rehearsal) -> None:
    """Add a row for each set, and one for the shards."""
    for spec in asked.sets:
        own = catalogue.languages(spec)
        lang = next((each for each in asked.langs if each in own), "en" if "en" in own else own[0])
        tried = _tried(Origin((), (), EvalSetSource(spec, lang, asked.data, asked.split)), [lang], asked, env)
        subject = _Subject(f"eval {spec}", tried.census, asked.models, len(asked.langs or own))
        _add(subject, tried, env, rehearsal)
    if asked.shards:
        census = rehearsal.planned(asked.shards) or census_of(find_shards(asked.shards))
        rehearsal.count(asked.shards, census)
        unknown_input = Tried([None, None], why="its input is not known")
        tried = _tried(census.origin, asked.langs, asked, env) if census.known else unknown_input
        wanted = {kind: count for kind, count in census.captions.items() if not asked.langs or kind.lang in asked.langs}
        _add(_Subject("eval", replace(census, captions=wanted), asked.models), tried, env, rehearsal)


def base_of(run: str) -> str:
    """The model that a run adapts; "" for a run that is not there yet."""
    source = RunDir(Path(run)).document.get("base", {}).get("source", {})
    return str(source.get("model", ""))


def _tried(origin: Origin, langs: Sequence[str], asked: Asked, env: Env) -> Tried:
    """``filter`` embeds the same images and captions with the same model.

    The second time the images have their embeddings: so long a further adapter or language takes.
    """
    stage = load_command("filter")
    step = Step(stage, replace(stage.options(), model=asked.model, lang=",".join(langs)))
    console.say(f"eval: trying it on up to {trial_client.SAMPLES} samples …")
    return trial_client.attempt(origin, [step, step], env.settings)


@dataclass(frozen=True)
class _Subject:
    """What one row is about. ``census`` has the captions that were tried; there are ``times`` as many."""

    name: str
    census: Census | None
    models: int
    times: int = 1

    @property
    def samples(self) -> float | None:
        return self.census.samples if self.census is not None and self.census.known else None

    @property
    def captions(self) -> float:
        """Of a sample."""
        return self.times * sum(self.census.captions.values()) if self.census is not None else 0.0


def _add(subject: _Subject, tried: Tried, env: Env, rehearsal: Rehearsal) -> None:
    samples, (first, again) = subject.samples, tried.steps
    if samples is None or first is None or again is None or not subject.captions:
        why = "it has no captions; classification is not tried" if samples and not subject.captions else tried.reason
        rehearsal.rows.append(unknown(subject.name, samples, why))
        rehearsal.remark(f"{subject.name}: could not be tried: {why}")
        return
    start = first.start * subject.models
    texts = again.seconds * (subject.models * subject.times - 1)  # those of the first pass are in its seconds
    basis = f"on {first.samples} samples, for {subject.models} model{'s' * (subject.models != 1)}"
    seconds, captions = start + samples * (first.seconds + texts), subject.captions * samples
    memory = float(tried.peak)
    row = Row(subject.name, samples, captions, seconds, "measured", basis, first.watts, memory, start=start)
    rehearsal.rows.append(row)
    rehearsal.check_memory(memory, free_memory(env.device))
