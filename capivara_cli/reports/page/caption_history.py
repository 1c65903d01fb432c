"""Follows the captions of an image to the training data, through the folders of shards that each step wrote.

The history in the shards puts the folders in order. A folder leads to the training data if its steps are the first
steps of the training data's history; the fewer steps it has, the earlier it comes.
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
_CANDIDATES = 300  # samples of the first folder that examples are chosen from
_SEARCHED = 3000  # samples of a later folder that are searched for them
_REMOVING = {"filter", "dedupe"}
HELD_OUT = "held out"


@dataclass(frozen=True, eq=False)
class DataFolder:
    """A folder of shards, with the steps that made it. ``rejects``: it holds dropped samples."""

    path: Path
    shards: tuple[str, ...]
    history: History
    rejects: bool = False

    @property
    def names(self) -> list[str]:
        return [str(step.get("step", "?")) for step in self.history]


@dataclass(frozen=True)
class CaptionStatus:
    """A caption, and why it was dropped; "" if it is in the training data."""

    caption: Caption
    dropped: str = ""


@dataclass
class CaptionHistory:
    """One image with all captions it ever had. ``dropped`` says why the whole sample was dropped."""

    key: str
    sample: Sample
    statuses: list[CaptionStatus] = field(default_factory=list)
    dropped: str = ""

    @property
    def n_dropped(self) -> int:
        return sum(bool(status.dropped) for status in self.statuses)


def find_folders(run: Run, given: Sequence[str]) -> list[DataFolder]:
    """Return the folders that led to a run's data, earliest first: the ``given`` ones, else those found beside the run.

    Given folders are taken as they are, rejects included. The history of a found folder must equal the run's or be a
    beginning of it. Raises ``CapivaraError`` for a given folder without shards.
    """
    if given:
        folders = [folder for text in given for folder in _given(Path(text))]
    else:
        folders = [folder for path in _candidates(run) if (folder := _found(path, run)) is not None]
        folders = list({len(folder.history): folder for folder in reversed(folders)}.values())
    return sorted(folders, key=lambda folder: (folder.rejects, len(folder.history)))


def _candidates(run: Run) -> Iterator[Path]:
    """Yield folders that may hold the data; those that ``capivara adapt`` leaves beside its run come first."""
    beside = run.path.parent if run.path.name else run.path.resolve().parent
    named = beside / f"{run.name.partition('-seed')[0]}-data"
    for path in [named, *sorted(beside.glob("*-data")), beside.parent, Path()]:
        if path.is_dir():
            yield from sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))


def _found(path: Path, run: Run) -> DataFolder | None:
    history = run.document.get("history") or []
    if not any(path.glob("*.tar")):
        return None
    try:
        folder = _read(path)
    except (CapivaraError, OSError):
        return None  # unfinished or damaged; the user did not name this folder
    if folder is None or not folder.history:
        return None
    return folder if folder.history == history[: len(folder.history)] else None


def _given(path: Path) -> list[DataFolder]:
    """The shards of a folder, or of the folders in it: ``--rejects`` writes one for each step."""
    if path.is_dir() and not any(path.glob("*.tar")):
        inner = sorted(each for each in path.iterdir() if each.is_dir() and any(each.glob("*.tar")))
        if inner:
            return [folder for each in inner if (folder := _read(each)) is not None]
    folder = _read(path)
    return [] if folder is None else [folder]


def _read(path: Path) -> DataFolder | None:
    """None for shards without a sample, which ``--rejects`` writes for a step that dropped nothing."""
    shards = tuple(find_shards([str(path)]))
    for shard in shards:
        with open_shard(shard) as reader:
            for sample in reader:
                return DataFolder(path, shards, reader.history, REJECT in sample.members)
    return None


def _samples(folder: DataFolder) -> Iterator[Sample]:
    for shard in folder.shards:
        with open_shard(shard) as reader:
            yield from reader


def caption_histories(folders: Sequence[DataFolder], count: int, trained: Sequence[str]) -> list[CaptionHistory]:
    """Choose up to ``count`` images of the first folder, the most instructive first; the choice is deterministic."""
    if not folders:
        return []
    kept = [folder for folder in folders if not folder.rejects]
    rejects = [folder for folder in folders if folder.rejects]
    start = kept or rejects
    first = {each.key: each for each in itertools.islice(_samples(start[0]), _CANDIDATES)}
    versions = [(start[0], first), *((folder, _matching(folder, first)) for folder in start[1:])]
    versions = [(folder, samples) for folder, samples in versions if samples]  # others hold other images
    why = {key: sample for folder in rejects for key, sample in _matching(folder, first).items()}
    found = []
    for key, sample in first.items():
        path = [(folder, samples[key]) for folder, samples in versions if key in samples]
        last = versions[-1][0]
        dropped = _reject_reason(why.get(key)) or _missing_reason(path[-1][0], last)
        if dropped == HELD_OUT:
            continue
        try:
            history = CaptionHistory(key, sample, _statuses(path, bool(dropped)), dropped)
        except BadSample:
            continue
        if history.statuses:
            found.append(history)
    return _choose(found, count, trained)


def _matching(folder: DataFolder, wanted: dict[str, Sample]) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    for sample in itertools.islice(_samples(folder), _SEARCHED):
        if sample.key in wanted:
            found.setdefault(sample.key, sample)
        if len(found) == len(wanted):
            break
    return found


def _reject_reason(sample: Sample | None) -> str:
    """Why a sample was dropped, from the record that ``--rejects`` wrote; "" if there is none."""
    if sample is None or REJECT not in sample.members:
        return ""
    try:
        record = json.loads(sample.members[REJECT])
        return f"{record['step']}: {record['reason']}"
    except (ValueError, KeyError, TypeError):
        return "reason unreadable"


Name = tuple[str, str, str]


def _missing_reason(reached: DataFolder, last: DataFolder) -> str:
    """The steps that may have dropped a sample after the last folder it reached; "" if that is the last of all."""
    if reached is last:
        return ""
    names = [str(step.get("step", "?")) for step in _between(reached, last)]
    return HELD_OUT if "split" in names else f"by {' | '.join(names)}"


def _statuses(path: Sequence[tuple[DataFolder, Sample]], image_dropped: bool) -> list[CaptionStatus]:
    """List every caption once, as the last folder with it has it, in the order of first appearance."""
    latest: dict[Name, tuple[Caption, int]] = {}
    for number, (_, sample) in enumerate(path):
        for caption in sample.captions:
            latest[_name(caption)] = (caption, number)
    final = len(path) - 1
    statuses = []
    for caption, number in latest.values():
        if number < final:
            group = [each for each, at in latest.values() if at >= number]
            statuses.append(CaptionStatus(caption, _why(caption, group, path[number][0], path[number + 1][0])))
        else:
            statuses.append(CaptionStatus(caption, "with its image" if image_dropped else ""))
    return statuses


def _name(caption: Caption) -> Name:
    return caption.text, caption.lang, caption.by


def _why(caption: Caption, group: Sequence[Caption], before: DataFolder, after: DataFolder) -> str:
    """The step that dropped a caption, if its score or the manifest tells; else the steps that may have."""
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
    """The steps of ``after`` that follow the history it shares with ``before``."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before.history, after.history, strict=False))
    return after.history[len(list(pairs)) :]


def _same_language(one: Caption, other: Caption) -> bool:
    return languages.code_of(one.lang) == languages.code_of(other.lang)


def _choose(found: Iterable[CaptionHistory], count: int, trained: Sequence[str]) -> list[CaptionHistory]:
    """Choose images with some captions dropped, then some (up to a third) with none, then some dropped themselves."""

    def interest(history: CaptionHistory) -> tuple[Any, ...]:
        languages_seen = {status.caption.lang for status in history.statuses if not status.dropped}
        return (not languages_seen & {*trained}, -min(history.n_dropped, 3), -len(history.statuses))

    kept = [history for history in found if not history.dropped]
    lost = [history for history in found if history.dropped][: max(1, count // 4)]
    partly = sorted((each for each in kept if each.n_dropped), key=interest)
    untouched = sorted((each for each in kept if not each.n_dropped), key=interest)
    room = count - len(lost)
    chosen = partly[: max(room - min(len(untouched), room // 3), 0)]
    return [*chosen, *untouched[: room - len(chosen)], *lost]


Count = tuple[str, int, str, int]


def counts_of(folders: Sequence[DataFolder]) -> list[Count]:
    """List (step, samples read, what was dropped or noted, how often) for the folders that led to the last one."""
    kept = [folder for folder in folders if not folder.rejects]
    on_the_way = [folder for folder in kept if folder.history == kept[-1].history[: len(folder.history)]]
    return [count for folder in on_the_way for count in _tallies(folder)]


@cache
def _tallies(folder: DataFolder) -> list[Count]:
    """The counts in the manifest of a folder."""
    manifest = Manifest.load(folder.path) if folder.path.is_dir() else None
    if manifest is None:
        return []
    read: Counter[str] = Counter()
    counted: Counter[tuple[str, str]] = Counter()
    for shard in manifest.done.values():
        for step, tally in zip(manifest.plan, shard.steps or (), strict=False):
            name = str(step.get("step", "?"))
            read[name] += tally.read
            counts = {**tally.dropped, **tally.notes}.items()
            counted.update({(name, what): number for what, number in counts if not histogram.is_bin(what)})
    return [(name, read[name], what, number) for (name, what), number in counted.items()]
