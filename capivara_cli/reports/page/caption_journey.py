"""What became of the captions of an image on the way to training: the same sample found in the shards of every stage.

Stages are told apart by the history in their shards: a folder belongs to the way when its steps are the first ones of
those that made the training data, and the earlier a folder, the fewer its steps.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from capivara_cli import languages
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.reports.page.read_run import Run
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.history import History
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import Manifest
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.filtering import histogram

REJECT = "dropped.json"
_LOOKED_AT = 300  # samples of the earliest stage that examples are chosen from
_SEARCHED = 3000  # samples of a later stage that are searched for them
_REMOVING = {"filter", "dedupe"}
HELD_OUT = "held out"


@dataclass(frozen=True, eq=False)
class DataFolder:
    """A folder of shards between two steps, with the steps that made it."""

    folder: Path
    shards: tuple[str, ...]
    history: History
    rejects: bool = False

    @property
    def names(self) -> list[str]:
        return [str(step.get("step", "?")) for step in self.history]


@dataclass(frozen=True)
class Fate:
    """A caption, and why it is not in the training data; "" when it is."""

    caption: Caption
    dropped: str = ""


@dataclass
class Journey:
    """One image with all captions it ever had. ``dropped`` says why the whole sample was left out."""

    key: str
    sample: Sample
    fates: list[Fate] = field(default_factory=list)
    dropped: str = ""

    @property
    def n_dropped(self) -> int:
        return sum(bool(fate.dropped) for fate in self.fates)


def find_stages(run: Run, given: Sequence[str]) -> list[DataFolder]:
    """The stages on the way to a run's data, earliest first; those of ``given`` folders, or those found beside it.

    Given shards are taken as they are, rejects included; found ones must have the run's own history or a beginning of
    it. Raises ``CapivaraError`` for a given folder without shards.
    """
    if given:
        stages = [stage for text in given for stage in _given(Path(text))]
    else:
        stages = [stage for folder in _candidates(run) if (stage := _found(folder, run)) is not None]
        stages = list({len(stage.history): stage for stage in reversed(stages)}.values())
    return sorted(stages, key=lambda stage: (stage.rejects, len(stage.history)))


def _candidates(run: Run) -> Iterator[Path]:
    """Folders that may hold the data: those that ``capivara adapt`` leaves beside its run first."""
    beside = run.path.parent if run.path.name else run.path.resolve().parent
    named = beside / f"{run.name.partition('-seed')[0]}-data"
    for folder in [named, *sorted(beside.glob("*-data")), beside.parent, Path()]:
        if folder.is_dir():
            yield from sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _found(folder: Path, run: Run) -> DataFolder | None:
    history = run.document.get("history") or []
    if not any(folder.glob("*.tar")):
        return None
    try:
        stage = _stage(folder)
    except (CapivaraError, OSError):
        return None  # unfinished or damaged: nobody asked for this folder
    if stage is None or not stage.history:
        return None
    return stage if stage.history == history[: len(stage.history)] else None


def _given(path: Path) -> list[DataFolder]:
    """The shards of a folder, or of the folders in it: ``--rejects`` makes one for each step."""
    if path.is_dir() and not any(path.glob("*.tar")):
        inner = sorted(each for each in path.iterdir() if each.is_dir() and any(each.glob("*.tar")))
        if inner:
            return [stage for each in inner if (stage := _stage(each)) is not None]
    stage = _stage(path)
    return [] if stage is None else [stage]


def _stage(path: Path) -> DataFolder | None:
    """None for shards without a sample, as ``--rejects`` leaves of a step that dropped nothing."""
    shards = tuple(find_shards([str(path)]))
    for shard in shards:
        with open_shard(shard) as reader:
            for sample in reader:
                return DataFolder(path, shards, reader.history, REJECT in sample.members)
    return None


def _samples(stage: DataFolder) -> Iterator[Sample]:
    for shard in stage.shards:
        with open_shard(shard) as reader:
            yield from reader


def journeys(stages: Sequence[DataFolder], count: int, taught: Sequence[str]) -> list[Journey]:
    """Up to ``count`` images of the earliest stage, those with the most to see first; the same ones every time."""
    if not stages:
        return []
    kept = [stage for stage in stages if not stage.rejects]
    rejects = [stage for stage in stages if stage.rejects]
    start = kept or rejects
    first = {each.key: each for each in itertools.islice(_samples(start[0]), _LOOKED_AT)}
    versions = [(start[0], first), *((stage, _matching(stage, first)) for stage in start[1:])]
    versions = [(stage, samples) for stage, samples in versions if samples]  # others hold other images
    why = {key: sample for stage in rejects for key, sample in _matching(stage, first).items()}
    found = []
    for key, sample in first.items():
        path = [(stage, samples[key]) for stage, samples in versions if key in samples]
        last = versions[-1][0]
        dropped = _reason(why.get(key)) or _left_out(path[-1][0], last)
        if dropped == HELD_OUT:
            continue
        try:
            journey = Journey(key, sample, _fates(path, bool(dropped)), dropped)
        except BadSample:
            continue
        if journey.fates:
            found.append(journey)
    return _worth_seeing(found, count, taught)


def _matching(stage: DataFolder, wanted: dict[str, Sample]) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    for sample in itertools.islice(_samples(stage), _SEARCHED):
        if sample.key in wanted:
            found.setdefault(sample.key, sample)
        if len(found) == len(wanted):
            break
    return found


def _reason(sample: Sample | None) -> str:
    """Why a whole sample was left out, as ``--rejects`` recorded it."""
    if sample is None or REJECT not in sample.members:
        return ""
    try:
        said = json.loads(sample.members[REJECT])
        return f"{said['step']}: {said['reason']}"
    except (ValueError, KeyError, TypeError):
        return "left out, for a reason that cannot be read"


Name = tuple[str, str, str]


def _left_out(reached: DataFolder, last: DataFolder) -> str:
    """Why a sample got no further than a stage; "" when that is the last one."""
    if reached is last:
        return ""
    names = [str(step.get("step", "?")) for step in _between(reached, last)]
    return HELD_OUT if "split" in names else f"by {' | '.join(names)}"


def _fates(path: Sequence[tuple[DataFolder, Sample]], gone_whole: bool) -> list[Fate]:
    """Every caption once, as the latest stage that has it knows it, in the order they came up."""
    latest: dict[Name, tuple[Caption, int]] = {}
    for number, (_, sample) in enumerate(path):
        for caption in sample.captions:
            latest[_name(caption)] = (caption, number)
    final = len(path) - 1
    fates = []
    for caption, number in latest.values():
        if number < final:
            group = [each for each, at in latest.values() if at >= number]
            fates.append(Fate(caption, _why(caption, group, path[number][0], path[number + 1][0])))
        else:
            fates.append(Fate(caption, "with its image" if gone_whole else ""))
    return fates


def _name(caption: Caption) -> Name:
    return caption.text, caption.lang, caption.by


def _why(caption: Caption, group: Sequence[Caption], before: DataFolder, after: DataFolder) -> str:
    """Which step left a caption out: where its score tells, or nothing else was left out; else what may have."""
    steps = _between(before, after)
    for step in steps:
        options = step.get("options") or {}
        if step.get("step") != "filter" or caption.score is None:
            continue
        if caption.score < options.get("min_score", -1):
            return f"filter: score below {options['min_score']:g}"
        better = sum((each.score or 0) > caption.score for each in group if _same_language(each, caption))
        if 0 < (options.get("top_k") or 0) <= better:
            return f"filter: not among the best {options['top_k']} in {languages.code_of(caption.lang)}"
    names = {str(step.get("step", "?")): None for step in steps}
    removing = [name for name in names if name in _REMOVING]
    noted = [(name, what) for name, _, what, _ in _tallies(after) if name in removing]
    if len(noted) == 1:
        return ": ".join(noted[0])
    return f"by {' or '.join(removing or names)}"


def _between(before: DataFolder, after: DataFolder) -> History:
    """The steps that made the one from what both have in common."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before.history, after.history, strict=False))
    return after.history[len(list(pairs)) :]


def _same_language(one: Caption, other: Caption) -> bool:
    return languages.code_of(one.lang) == languages.code_of(other.lang)


def _worth_seeing(found: Iterable[Journey], count: int, taught: Sequence[str]) -> list[Journey]:
    """Half of them where captions were left out, the others where all stayed; samples left out whole come last."""

    def interest(journey: Journey) -> tuple[Any, ...]:
        languages_seen = {fate.caption.lang for fate in journey.fates if not fate.dropped}
        return (not languages_seen & {*taught}, -min(journey.n_dropped, 3), -len(journey.fates))

    whole = [journey for journey in found if not journey.dropped]
    lost = [journey for journey in found if journey.dropped][: max(1, count // 4)]
    thinned = sorted((each for each in whole if each.n_dropped), key=interest)
    untouched = sorted((each for each in whole if not each.n_dropped), key=interest)
    room = count - len(lost)
    chosen = thinned[: max(room - min(len(untouched), room // 3), 0)]
    return [*chosen, *untouched[: room - len(chosen)], *lost]


Count = tuple[str, int, str, int]


def counts_of(stages: Sequence[DataFolder]) -> list[Count]:
    """(step, samples read, what was left out or noted, how many), of the stages on the way to the last one."""
    kept = [stage for stage in stages if not stage.rejects]
    on_the_way = [stage for stage in kept if stage.history == kept[-1].history[: len(stage.history)]]
    return [count for stage in on_the_way for count in _tallies(stage)]


@cache
def _tallies(stage: DataFolder) -> list[Count]:
    """What the manifest of a folder counted."""
    manifest = Manifest.load(stage.folder) if stage.folder.is_dir() else None
    if manifest is None:
        return []
    read: Counter[str] = Counter()
    counted: Counter[tuple[str, str]] = Counter()
    for shard in manifest.done.values():
        for step, tally in zip(manifest.plan, shard.steps or (), strict=False):
            name = str(step.get("step", "?"))
            read[name] += tally.read
            said = {**tally.dropped, **tally.notes}.items()
            counted.update({(name, what): number for what, number in said if not histogram.is_bin(what)})
    return [(name, read[name], what, number) for (name, what), number in counted.items()]
