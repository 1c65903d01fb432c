"""Ray actors that keep their models loaded (--engine ray), on this machine or on a cluster that reaches the folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.books import Books
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.launchers.local import cores
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.passes import Pass, Passes
from capivara_cli.pipeline.workers.events import Accounts
from capivara_cli.pipeline.workers.job import Job

_POLL = 0.5  # s: between two tries at a shard that another process has claimed


def load(variant: str = "") -> Ray:
    return Ray()


class Ray:
    """Gives shards to actors as JSON, one at a time; the shard of an actor that dies goes to another."""

    def run(self, job: Job, passes: Passes, books: Books, settings: Settings) -> None:
        """Run the job. Raises ``CapivaraError`` without Ray, and the error of the first actor that fails."""
        with _cluster(settings) as ray:
            accounts = Accounts(passes, books, settings.max_failures)
            team = _Team(ray, job, accounts, settings)
            try:
                for number, each in enumerate(passes.list):
                    if passes.out.complete:
                        break
                    if each.last:
                        team.fill(number, each, job.indices)
                    else:
                        each.files.open()
                        team.fill(number, each, range(len(each.files.contents.names)))
                        each.files.settle()
            finally:
                team.dismiss()
            accounts.close()


@contextlib.contextmanager
def _cluster(settings: Settings) -> Iterator[Any]:
    """Ray, connected to the cluster at ``--address``, else to a new one that only this machine can reach."""
    try:
        import ray
    except ImportError as error:
        raise CapivaraError("--engine ray: Ray is not installed", "pip install 'capivara[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // settings.workers)))
    own: dict[str, Any] = {
        "num_cpus": max(cores(), settings.workers),
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=settings.address or "local", log_to_driver=False, logging_level=logging.ERROR,
            **({} if settings.address else own),
        )  # fmt: skip
    except Exception as error:
        where = f"--address {settings.address}: no Ray cluster" if settings.address else "Ray did not start"
        hint = "start one with: ray start --head" if settings.address else "is the machine busy? run it again"
        raise CapivaraError(f"{where}: {error}", hint) from error
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own handler would end the program before it tidies up
    try:
        yield ray
    finally:
        ray.shutdown()


class Actor:
    """The worker in an actor: it keeps a plan with its models, and does the tasks it is given."""

    def __init__(self, job: str, paths: list[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]  # where the driver finds its stages
        from capivara_cli.pipeline.workers.worker import Collected

        self._job = Job.parse(job)
        self._events = Collected()
        self._meter = self._events.costs.meter("actor", modelled=True)
        if self._job.settings["energy"]:
            self._meter.__enter__()  # until this process is killed
        self._chain: Chain | None = None
        self._passes: Passes | None = None
        self._dead: frozenset[str] = frozenset()

    def who(self) -> str:
        """The name of this process in claims."""
        from capivara_cli.storage.claims import Holder

        return Holder.here().name

    def do(self, task: str) -> str:
        """Make one file of one pass; returns the events as JSON, then whether the file was made."""
        return self._events.answer(lambda: self._do(**json.loads(task)), self._cost)

    def _cost(self) -> None:
        """Send what this process has cost so far: the driver that kills it cannot measure it."""
        from capivara_cli.storage.claims import machine

        if self._job.settings["energy"]:
            cost = self._meter.so_far().to_json()
            self._events.send(cost=cost, machine=machine(), process=os.getpid())

    def _do(self, number: int, index: int, dead: list[str]) -> bool:
        if self._chain is None:
            console.be_quiet(bool(self._job.settings["quiet"]))
            self._chain = self._job.chain(self._events.costs)
        if self._passes is None or self._dead != frozenset(dead):
            self._dead = frozenset(dead)
            self._passes = self._job.passes(self._chain, self._events, self._dead)
        each = self._passes.list[number]
        each.files.refresh()
        made = each.attempt(index)
        each.files.store.wait()
        return made


@dataclass
class _Member:
    """One actor as the driver knows it."""

    number: int
    actor: Any
    name: str = ""


class _Team:
    """The actors, and the file that each is making."""

    def __init__(self, ray: Any, job: Job, accounts: Accounts, settings: Settings) -> None:
        self._ray, self._job, self._accounts = ray, job, accounts
        self._count, self._gpus = _size(ray.cluster_resources(), settings)
        self._dead: list[str] = []
        self._all: list[_Member] = []
        self._idle = deque(self._hire(number) for number in range(self._count))
        self._at: dict[Any, tuple[_Member, int]] = {}

    def _hire(self, number: int) -> _Member:
        kind = self._ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=0, scheduling_strategy="SPREAD")(Actor)
        member = _Member(number, kind.remote(self._job.text(), [path for path in sys.path if path]))
        self._all.append(member)
        return member

    def fill(self, number: int, each: Pass, indices: Iterable[int]) -> None:
        """Have the missing files of a pass made, and wait for those that other processes make."""
        files = each.files
        files.refresh()
        todo = deque(index for index in indices if not files.is_done(index))
        later: list[int] = []
        while todo or later or self._at:
            while todo and self._idle:
                self._give(self._idle.popleft(), number, todo.popleft(), files.contents.names)
            if not self._at:
                time.sleep(_POLL)
            ready, _ = self._ray.wait([*self._at], timeout=_POLL) if self._at else ([], [])
            for future in ready:
                index, made = self._take(future)
                if not made:
                    later.append(index)
            if later and not todo:
                files.refresh()
                todo = deque(index for index in later if not files.is_done(index))
                later = []
                if todo and not ready:
                    time.sleep(_POLL)

    def _give(self, member: _Member, number: int, index: int, names: Any) -> None:
        self._accounts.enter(member.number, {"started": names[index]})
        task = json.dumps({"number": number, "index": index, "dead": self._dead})
        self._at[member.actor.do.remote(task)] = member, index

    def _take(self, future: Any) -> tuple[int, bool]:
        """End a task: enter its events, or replace its actor. Returns the file's number, and whether it was made."""
        member, index = self._at.pop(future)
        try:
            *events, made = json.loads(self._ray.get(future))
            if not member.name:
                member.name = self._ray.get(member.actor.who.remote())
        except self._ray.exceptions.RayActorError:
            self._all.remove(member)
            self._accounts.died(member.number, "lost")
            if member.name:
                self._dead.append(member.name)
            self._idle.append(self._hire(member.number))
            return index, False
        for event in events:
            self._accounts.enter(member.number, event)
        self._idle.append(member)
        return index, bool(made)

    def dismiss(self) -> None:
        """End all actors."""
        for member in self._all:
            self._ray.kill(member.actor)


def _size(resources: dict[str, float], settings: Settings) -> tuple[int, float]:
    """How many actors, and the share of a GPU that each gets."""
    gpus, share = resources.get("GPU", 0), settings.gpus_per_worker
    if not gpus or not share or settings.device == "cpu":
        if settings.workers > resources.get("CPU", 0):
            raise CapivaraError(
                f"--workers {settings.workers}: the Ray cluster has {resources.get('CPU', 0):g} cores", "use fewer"
            )
        return settings.workers, 0
    most = int(gpus / share + 1e-9)
    if most < 1:
        raise CapivaraError(
            f"--gpus-per-worker {share:g}: the Ray cluster has {gpus:g} GPUs", "give each worker a smaller share"
        )
    return min(settings.workers, most) if settings.workers > 1 else most, share
