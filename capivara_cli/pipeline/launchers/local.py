"""Worker processes on this machine (--workers N), which share its cores and GPUs."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

from capivara_cli.pipeline.books import Books
from capivara_cli.pipeline.device import cores
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.sharded_plan import ShardedPlan
from capivara_cli.pipeline.workers.events import WorkerMonitor
from capivara_cli.pipeline.workers.job import Job

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_GRACE = 20.0  # s: time for a worker to end before it is killed


def load(variant: str = "") -> Local:
    return Local()


class Local:
    """Starts ``--workers`` processes, replaces those that are killed, and combines their progress."""

    def run(self, job: Job, plan: ShardedPlan, books: Books, settings: Settings) -> None:
        """Run the job. If a worker fails, end the others and raise its error."""
        monitor = WorkerMonitor(plan, books, settings.max_failures)
        workers = settings.workers
        with selectors.DefaultSelector() as waiting:
            running = [_Worker(number, workers, job) for number in range(workers)]
            try:
                for worker in running:
                    waiting.register(worker.events, selectors.EVENT_READ, worker)
                while waiting.get_map():
                    for key, _ in waiting.select():
                        self._listen(key.data, waiting, monitor, running)
            finally:
                for worker in running:
                    worker.process.terminate()
                for worker in running:
                    worker.end()
        monitor.close()

    def _listen(
        self, worker: _Worker, waiting: selectors.BaseSelector, monitor: WorkerMonitor, running: list[_Worker]
    ) -> None:
        events, ended = worker.read()
        for event in events:
            monitor.handle(worker.number, event)
        if not ended:
            return
        waiting.unregister(worker.events)
        running.remove(worker)
        code = worker.end()
        if code == 0:
            return
        monitor.died(worker.number, _cause(code))
        successor = worker.restarted()
        running.append(successor)
        waiting.register(successor.events, selectors.EVENT_READ, successor)


def _cause(code: int) -> str:
    """``-9`` -> "killed (SIGKILL)"."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"killed ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed (signal {-code})"


class _Worker:
    """One worker process, and the pipe of its events."""

    def __init__(self, number: int, of: int, job: Job) -> None:
        self.number, self._of, self._job = number, of, job
        self.process = subprocess.Popen(
            [sys.executable, "-m", "capivara_cli.pipeline.workers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(os.environ, number, of, job.settings["device"]),
        )
        self.events = cast(IO[bytes], self.process.stdout)
        self._rest = b""
        stdin = cast(IO[bytes], self.process.stdin)
        with contextlib.suppress(BrokenPipeError):  # killed already: ``_listen`` sees the end of its events
            stdin.write(job.text().encode() + b"\n")
            stdin.flush()

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """The events that have arrived, and whether the pipe has ended."""
        data = os.read(self.events.fileno(), 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines], not data

    def end(self) -> int:
        """Wait for the process to end, kill it if that takes too long, and return its exit code."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            return self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def restarted(self) -> _Worker:
        """A new worker with the same number and job."""
        return _Worker(self.number, self._of, self._job)


def environment(given: Mapping[str, str], number: int, of: int, device: str) -> dict[str, str]:
    """The environment of worker ``number`` of ``of``: its share of the cores, one GPU, and our import path."""
    variables = dict(given)
    threads = str(max(1, cores() // of))
    for name in _THREADS:
        variables.setdefault(name, threads)
    variables.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    devices = gpus(given)
    if len(devices) > 1 and device in ("auto", "cuda"):
        variables["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return variables


def gpus(environment: Mapping[str, str]) -> list[str]:
    """The NVIDIA GPUs that this process may use, found without importing torch."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [each.strip() for each in named.split(",") if each.strip()]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
