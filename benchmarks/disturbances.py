"""Disturb runs at random in other ways than by kills alone, and compare the result with an uninterrupted run.

python -m benchmarks.disturbances stops    [KILLS] [SHARDS] [SAMPLES]   Ctrl-Z and SIGSTOP, then resumed or killed
python -m benchmarks.disturbances clocks   [KILLS] [SHARDS] [SAMPLES]   kills; clocks and file times hours off
python -m benchmarks.disturbances machines [KILLS] [SHARDS] [SAMPLES]   two machines and one folder; one dies or sleeps

Without numbers: 200 disturbances, 40 shards, 250 samples in each. The checks are those of ``benchmarks/kills.py``. If
the folder is complete before the last disturbance, another one is begun.

A machine is a run with a host name and a clock of its own: a ``sitecustomize`` that Python imports at its start changes
``os.uname`` and ``time.time``. What a dead machine has claimed would be free after ``STALE`` seconds: its claims are
dated back instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.kills import SHARED, call, check, clean_run, kill_all, kill_one, paced, start, workers_of
from capivara_cli.storage.found_claims import STALE

WORKERS = 4
DEFAULTS = (200, 40, 250)
HOUR = 3600
PATCH = """
import os, time
host, shift = os.environ.get("KILLS_HOST"), float(os.environ.get("KILLS_CLOCK", 0))
name, now = os.uname(), time.time
if host:
    os.uname = lambda: type(name)((name.sysname, host, *name[2:]))
time.time = lambda: now() + shift
"""


def main() -> None:
    mode, *words = sys.argv[1:] or ["stops"]
    given = [int(word) for word in words]
    count, shards, samples = (*given, *DEFAULTS[len(given) :])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        call("pack", f"toy:{shards * samples}", "--shard-size", str(samples), "--out", "shards", "--quiet")
        print(disturbed(MODES[mode], count, SHARED))


@dataclass
class Run:
    """A run on a machine with this host name ("" for its own), whose clock is ``shift`` seconds ahead."""

    out: Path
    host: str
    shift: float
    process: subprocess.Popen[bytes]

    @classmethod
    def started(cls, plan: str, out: Path, host: str = "", shift: float = 0.0) -> Run:
        variables = {"KILLS_HOST": host, "KILLS_CLOCK": str(shift), "PYTHONPATH": _patched()}
        return cls(out, host, shift, start(plan, out.name, ["--workers", str(WORKERS)], variables))

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to all its processes, as a terminal does."""
        if self.running:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        kill_all(self.process)
        self.process.wait()


def _patched() -> str:
    """PYTHONPATH with the folder of the ``sitecustomize`` in front, which is written if it does not exist."""
    folder = Path("patched").absolute()
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(PATCH)
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


class Disturbance(Protocol):
    """A way to disturb the runs that fill a folder. ``seen`` counts what it did, by its name."""

    seen: Counter[str]

    def runs(self, plan: str, out: Path, source: random.Random) -> list[Run]:
        """Start the runs that share a folder."""

    def disturb(self, run: Run, source: random.Random) -> None:
        """Do something to a run."""

    def after(self, run: Run, source: random.Random) -> None:
        """Do something before a run that has ended, but not well, is started again."""


def disturbed(disturbance: Disturbance, count: int, plan: str, wait: float = 2.0) -> str:
    """Disturb runs over ./shards ``count`` times; returns a report, raises if a folder is wrong."""
    clean = clean_run(plan)
    source = random.Random(0)
    total, folders, report = len(list(Path("shards").glob("*.tar"))), 0, ""
    while disturbance.seen.total() < count:
        before = disturbance.seen.total()
        folders += 1
        out = Path(f"out-{folders}")
        runs = disturbance.runs(plan, out, source)
        while runs:
            time.sleep(source.uniform(0, wait))
            wait = paced(wait, out, total, (disturbance.seen.total() - before) / count)
            if disturbance.seen.total() < count:
                disturbance.disturb(source.choice(runs), source)
            for run in [each for each in runs if not each.running]:
                runs.remove(run)
                if run.process.returncode != 0:
                    disturbance.after(run, source)
                    runs.append(Run.started(plan, out, run.host, run.shift))
        report = check(clean, out)
    seen = ", ".join(f"{name}: {number}" for name, number in sorted(disturbance.seen.items()))
    return f"{seen}\n{folders} folders, each: {report}"


@dataclass
class Stops:
    """Stops a worker (SIGSTOP) or all processes of a run (Ctrl-Z); then resumes or kills them."""

    seen: Counter[str] = field(default_factory=Counter)
    longest: float = 1.0

    def runs(self, plan: str, out: Path, source: random.Random) -> list[Run]:
        return [Run.started(plan, out)]

    def disturb(self, run: Run, source: random.Random) -> None:
        if source.random() < 0.3:
            run.signal(signal.SIGTSTP)
            time.sleep(source.uniform(0, self.longest))
            if source.random() < 0.5:
                run.signal(signal.SIGCONT)
                self.seen["runs stopped and resumed"] += 1
            elif run.running:
                run.kill()
                self.seen["runs killed while stopped"] += 1
            return
        try:
            worker = source.choice(workers_of(run.process))
            worker.suspend()
            time.sleep(source.uniform(0, self.longest))
            killed = source.random() < 0.5
            worker.kill() if killed else worker.resume()
        except (psutil.Error, IndexError):  # it has ended by itself
            return
        self.seen["workers killed while stopped" if killed else "workers stopped and resumed"] += 1

    def after(self, run: Run, source: random.Random) -> None:
        pass


@dataclass
class Clocks:
    """Kills a worker or a run, whose clock is hours off; then changes the times of all files in the folder."""

    seen: Counter[str] = field(default_factory=Counter)

    def runs(self, plan: str, out: Path, source: random.Random) -> list[Run]:
        return [Run.started(plan, out, shift=source.uniform(-48, 48) * HOUR)]

    def disturb(self, run: Run, source: random.Random) -> None:
        if source.random() < 0.3 and run.running:
            run.kill()
            self.seen["runs killed"] += 1
        elif kill_one(run.process, source):
            self.seen["workers killed"] += 1

    def after(self, run: Run, source: random.Random) -> None:
        for path in sorted(run.out.rglob("*")):
            moment = time.time() + source.uniform(-48, 48) * HOUR
            if path.is_file():
                os.utime(path, (moment, moment))
        run.shift = source.uniform(-48, 48) * HOUR
        self.seen["times of all files changed"] += 1


@dataclass
class Machines:
    """Two machines fill one folder: one of them dies, or sleeps until the other one has taken over what it claimed."""

    seen: Counter[str] = field(default_factory=Counter)
    longest: float = 3.0

    def runs(self, plan: str, out: Path, source: random.Random) -> list[Run]:
        return [Run.started(plan, out, "one", HOUR), Run.started(plan, out, "other", -HOUR)]

    def disturb(self, run: Run, source: random.Random) -> None:
        kind = source.random()
        if not run.running:
            return
        if kind < 0.3:
            if kill_one(run.process, source):
                self.seen["workers killed"] += 1
        elif kind < 0.6:
            run.kill()
            self.seen["machines died"] += 1
        else:
            run.signal(signal.SIGSTOP)
            self.after(run, source)
            time.sleep(source.uniform(0, self.longest))
            run.signal(signal.SIGCONT)
            self.seen["machines slept, their claims taken over"] += 1

    def after(self, run: Run, source: random.Random) -> None:
        for path in claims_of(run.out, run.host):
            long_ago = time.time() - 2 * STALE
            with contextlib.suppress(FileNotFoundError):  # taken over meanwhile
                os.utime(path, (long_ago, long_ago))


def claims_of(folder: Path, host: str) -> Iterator[Path]:
    """The claims of a machine in a folder and the folders in it."""
    for path in sorted(folder.rglob(".*.claim")):
        try:
            holder = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if holder.get("host") == host:
            yield path


MODES: dict[str, Disturbance] = {"stops": Stops(), "clocks": Clocks(), "machines": Machines()}

if __name__ == "__main__":
    main()
