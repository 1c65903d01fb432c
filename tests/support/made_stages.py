"""Stages made for the tests of sharing, which workers import by name, and what those tests share."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.books import Report
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, opt
from capivara_cli.pipeline.stage import Arrays, CorpusFunctions, Step, stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Sample

_UNLINK = Path.unlink


@dataclass(frozen=True)
class WorkOptions:
    milliseconds: float = opt(0.0, "how long a sample takes", tuning=True)
    fail: str = opt("", "the key of a sample that ends the run", tuning=True)
    kill: str = opt("", "the key of a sample that kills its process, if the file is there", tuning=True)
    once: str = opt("", "a folder: the file ``once`` in it is removed before the process is killed", tuning=True)
    slow_release: float = opt(0.0, "seconds that the removal of a claim takes in this process", tuning=True)


@stage("work", WorkOptions)
def work(samples: Stream, options: WorkOptions, env: Env) -> Stream:
    """Note the digest of the key; slow, fatal or deadly on request."""

    def prepare(sample: Sample) -> str:
        if sample.key.endswith("13"):
            raise BadSample("thirteen")
        if sample.key == options.fail:
            raise CapivaraError(f"{sample.key}: cannot go on", "try another")
        if sample.key == options.kill and (not options.once or _removed(Path(options.once) / "once")):
            os.kill(os.getpid(), signal.SIGKILL)
        return sample.key

    def process(keys: list[str]) -> list[str]:
        until = time.process_time() + len(keys) * options.milliseconds / 1000
        digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
        while time.process_time() < until:
            pass
        return digests

    if options.slow_release:
        _slow_down_releases(options.slow_release)
    for sample, digest in map_batched(samples, prepare, process, size=4, env=env, keep=True):
        env.note(f"begins with {digest[0]}")
        yield sample.with_document(digest=digest)


def _slow_down_releases(seconds: float) -> None:
    unlink = _UNLINK

    def slow(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".claim":
            time.sleep(seconds)
        unlink(path, missing_ok)

    Path.unlink = slow  # type: ignore[method-assign]


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class UniqueOptions:
    everywhere: bool = opt(True, "look at all shards, not at each alone")
    of: int = opt(7, "keys with the same rest of this division are the same")


def _mark(sample: Sample, options: UniqueOptions) -> int:
    return int(hashlib.sha256(sample.key.encode()).hexdigest(), 16) % options.of


def _survey(samples: Stream, options: UniqueOptions, env: Env) -> Arrays:
    env.note("never shown")
    return {"marks": np.array([_mark(sample, options) for sample in samples], dtype=np.int64)}


def _decide(surveys: Sequence[Callable[[], Arrays]], options: UniqueOptions, env: Env) -> Iterator[Arrays]:
    seen: set[int] = set()
    for load in surveys:
        kept = []
        for mark in load()["marks"].tolist():
            kept.append(mark not in seen)
            seen.add(mark)
        yield {"kept": np.array(kept, dtype=bool)}


def _apply(samples: Stream, survey: Arrays, decision: Arrays, options: UniqueOptions, env: Env) -> Stream:
    for sample, mark, kept in zip(samples, survey["marks"], decision["kept"], strict=True):
        if kept:
            yield sample.with_document(mark=int(mark))
        else:
            env.drop(sample, "seen before")


@stage("unique", UniqueOptions, corpus=CorpusFunctions(lambda options: options.everywhere, _survey, _decide, _apply))
def unique(samples: Stream, options: UniqueOptions, env: Env) -> Stream:
    """Of samples with the same mark in a shard, keep the first."""
    samples = list(samples)
    survey = _survey(iter(samples), options, Env(env.settings, env.step))
    (decision,) = _decide([lambda: survey], options, env)
    yield from _apply(iter(samples), survey, decision, options, env)


def small(count: int, start: int = 0) -> list[Sample]:
    return [Sample(f"{number:05d}", {"json": b"{}"}) for number in range(start, start + count)]


def fill(steps: list[Step], shards: Path, out: Path, **settings: object) -> Report:
    return engine.run(steps, [str(shards)], Settings(out=str(out), quiet=True, energy=False, **settings), None)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the costs; whatever is left over shows."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in folder.rglob("*")
        if path.name != "footprint.jsonl"
    }
