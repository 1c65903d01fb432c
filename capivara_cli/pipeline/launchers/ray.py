"""Ray actors as workers (--engine ray), on this machine or on a cluster that can reach the output folder."""

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
from capivara_cli.pipeline.device import cores
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.sharded_plan import Pass, ShardedPlan
from capivara_cli.pipeline.workers.events import WorkerMonitor
from capivara_cli.pipeline.workers.job import Job

_POLL = 0.5  # s: pause between two attempts at a shard that another process has claimed


def load(variant: str = "") -> Ray:
    return Ray()


class Ray:
    """Sends shards to actors, one at a time, as JSON. The shard of an actor that dies goes to another one."""

    def run(self, job: Job, plan: ShardedPlan, books: Books, settings: Settings) -> None:
        """Run the job. Raises ``CapivaraError`` if Ray cannot start, and the error of the first actor that fails."""
        with _cluster(settings) as ray:
            monitor = WorkerMonitor(plan, books, settings.max_failures)
            pool = _ActorPool(ray, job, monitor, settings)
            try:
                for number, each in enumerate(plan.passes):
                    if plan.out.complete:
                        break
                    if each.last:
                        pool.fill(number, each, job.indices)
                    else:
                        each.folder.open()
                        pool.fill(number, each, range(len(each.folder.contents.names)))
                        each.folder.settle()
            finally:
                pool.kill()
            monitor.close()


@contextlib.contextmanager
def _cluster(settings: Settings) -> Iterator[Any]:
    """Ray, connected to the cluster at ``--address``, or to a new one that only this machine can reach."""
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
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's handler would end the program before it removes its files
    try:
        yield ray
    finally:
        ray.shutdown()


class Actor:
    """A worker as a Ray actor. It keeps its plan and models between tasks."""

    def __init__(self, job: str, paths: list[str]) -> None:
        sys.path += [path for path in paths if path not in sys.path]  # where the driver finds its stages
        from capivara_cli.pipeline.workers.worker import EventCollector

        self._job = Job.parse(job)
        self._events = EventCollector()
        self._meter = self._events.costs.meter("actor", modelled=True)
        if self._job.settings["energy"]:
            self._meter.__enter__()  # until this process is killed
        self._chain: Chain | None = None
        self._plan: ShardedPlan | None = None
        self._dead: frozenset[str] = frozenset()

    def claim_holder(self) -> str:
        """The name of this process in claims."""
        from capivara_cli.storage.holders import Holder

        return Holder.of_this_process().name

    def run_task(self, task: str) -> str:
        """Write one file of one pass; return the events as a JSON list, and last whether the file was written."""
        return self._events.answer(lambda: self._run(**json.loads(task)), self._send_cost)

    def _send_cost(self) -> None:
        """Send the cost of this process so far: the driver kills it at the end and cannot measure it."""
        from capivara_cli.storage.holders import machine

        if self._job.settings["energy"]:
            cost = self._meter.so_far().to_json()
            self._events.send(cost=cost, machine=machine(), process=os.getpid())

    def _run(self, number: int, index: int, dead: list[str]) -> bool:
        """Write the file ``index`` of pass ``number``; ``dead`` are holders of claims, as "host:pid"."""
        if self._chain is None:
            console.be_quiet(bool(self._job.settings["quiet"]))
            self._chain = self._job.chain(self._events.costs)
        if self._plan is None or self._dead != frozenset(dead):
            self._dead = frozenset(dead)
            self._plan = self._job.plan(self._chain, self._events, self._dead)
        each = self._plan.passes[number]
        each.folder.refresh()
        written = each.attempt(index)
        each.folder.store.wait()
        return written


@dataclass
class _ActorEntry:
    """One actor; ``name`` is its name in claims, "" until it has done a task."""

    number: int
    actor: Any
    name: str = ""


class _ActorPool:
    """The actors, and the file that each is writing."""

    def __init__(self, ray: Any, job: Job, monitor: WorkerMonitor, settings: Settings) -> None:
        self._ray, self._job, self._monitor = ray, job, monitor
        self._count, self._gpus = _size(ray.cluster_resources(), settings)
        self._dead: list[str] = []
        self._actors: list[_ActorEntry] = []
        self._idle = deque(self._start(number) for number in range(self._count))
        self._tasks: dict[Any, tuple[_ActorEntry, int]] = {}

    def _start(self, number: int) -> _ActorEntry:
        kind = self._ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=0, scheduling_strategy="SPREAD")(Actor)
        member = _ActorEntry(number, kind.remote(self._job.text(), [path for path in sys.path if path]))
        self._actors.append(member)
        return member

    def fill(self, number: int, each: Pass, indices: Iterable[int]) -> None:
        """Let the actors write the missing files of a pass, and wait for those that other processes write."""
        folder = each.folder
        folder.refresh()
        todo = deque(index for index in indices if not folder.is_done(index))
        later: list[int] = []
        while todo or later or self._tasks:
            while todo and self._idle:
                self._assign(self._idle.popleft(), number, todo.popleft(), folder.contents.names)
            if not self._tasks:
                time.sleep(_POLL)
            ready, _ = self._ray.wait([*self._tasks], timeout=_POLL) if self._tasks else ([], [])
            for future in ready:
                index, written = self._collect(future)
                if not written:
                    later.append(index)
            if later and not todo:
                folder.refresh()
                todo = deque(index for index in later if not folder.is_done(index))
                later = []
                if todo and not ready:
                    time.sleep(_POLL)

    def _assign(self, member: _ActorEntry, number: int, index: int, names: Any) -> None:
        self._monitor.handle(member.number, {"started": names[index]})
        task = json.dumps({"number": number, "index": index, "dead": self._dead})
        self._tasks[member.actor.run_task.remote(task)] = member, index

    def _collect(self, future: Any) -> tuple[int, bool]:
        """Handle the events of a finished task, or replace a dead actor.

        Returns the index of the file and whether it was written.
        """
        member, index = self._tasks.pop(future)
        try:
            *events, written = json.loads(self._ray.get(future))
            if not member.name:
                member.name = self._ray.get(member.actor.claim_holder.remote())
        except self._ray.exceptions.RayActorError:
            self._actors.remove(member)
            self._monitor.died(member.number, "lost")
            if member.name:
                self._dead.append(member.name)
            self._idle.append(self._start(member.number))
            return index, False
        for event in events:
            self._monitor.handle(member.number, event)
        self._idle.append(member)
        return index, bool(written)

    def kill(self) -> None:
        """Kill all actors."""
        for member in self._actors:
            self._ray.kill(member.actor)


def _size(resources: dict[str, float], settings: Settings) -> tuple[int, float]:
    """The number of actors, and the share of a GPU that each gets."""
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
