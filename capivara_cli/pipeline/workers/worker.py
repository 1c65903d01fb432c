"""One worker process: ``python -m capivara_cli.pipeline.workers.worker``, a job on stdin, events on stdout.

It ends when standard input does, so it does not outlive the process that started it. Its messages to people are
events, too: when several workers say the same, the starter shows it once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TextIO, TypeVar, cast

from capivara_cli import console
from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.books import counts_of
from capivara_cli.pipeline.env import Tally
from capivara_cli.pipeline.workers.job import Job

Result = TypeVar("Result")
TERMINATED = 143
BUG = 70
_EVERY = 0.5  # s: between two counts of samples


class Sender:
    """The ``Books`` of a worker: sends events to the process that started it, with ``costs`` of this one."""

    def __init__(self, out: TextIO) -> None:
        self.costs = Costs()
        self._out = out
        self._lock = threading.Lock()
        self._advanced = 0
        self._next = 0.0

    def send(self, **event: Any) -> None:
        with self._lock:
            self._out.write(json.dumps(event) + "\n")
            self._out.flush()

    def started(self, name: str) -> None:
        self.send(started=name)

    def advance(self, count: int = 1) -> None:
        self._advanced += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            self.flush()

    def flush(self) -> None:
        if self._advanced:
            self.send(advanced=self._advanced)
            self._advanced = 0

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        self.flush()
        self.send(finished=name, steps=[counts_of(tally, with_failed=True).to_json() for tally in tallies])


class _Said(io.TextIOBase):
    """Standard error as events, line by line."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            with contextlib.suppress(OSError):  # the starter has gone, and this process ends
                self._sender.send(said=line)
        return len(text)

    def writable(self) -> bool:
        return True


def main() -> int:
    """Work until the folder is complete; returns the exit code."""
    data = os.dup(1)
    os.dup2(2, 1)
    sender = Sender(open(data, "w", encoding="utf-8"))  # noqa: SIM115  open as long as the process
    sys.stderr = cast(TextIO, _Said(sender))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter passes it on
    signal.signal(signal.SIGTERM, _terminate)
    job = Job.parse(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_starter, name="capivara-starter", daemon=True).start()
    return guarded(lambda: work(job, sender), sender)[0]


def guarded(work: Callable[[], Result], sender: Sender) -> tuple[int, Result | None]:
    """Do some work; returns an exit code and its result. An error is sent as an event."""
    try:
        result = work()
    except CapivaraError as error:
        sender.send(error=error.message, hint=error.hint, code=error.exit_code)
        return error.exit_code, None
    except OSError as error:
        sender.send(failed=error.errno, strerror=error.strerror or str(error), file=error.filename)
        return 1, None
    except Exception:  # noqa: BLE001  the last resort of this process, as in cli.py
        import traceback

        sender.send(bug=traceback.format_exc())
        return BUG, None
    sender.flush()
    spent = sender.costs.steps.taken()
    sender.send(flops=sender.costs.operations.taken(), spent=[[number, *each] for number, each in spent.items()])
    return 0, result


class Collected(Sender):
    """Collects the events of one task after another, for a worker that answers each task with its events."""

    def __init__(self) -> None:
        self._lines = io.StringIO()
        super().__init__(self._lines)
        sys.stderr = cast(TextIO, _Said(self))

    def answer(self, work: Callable[[], bool], after: Callable[[], None]) -> str:
        """A JSON list: the events of ``work`` and ``after``, then whether ``work`` was done."""
        _, done = guarded(work, self)
        after()
        events = [json.loads(line) for line in self._lines.getvalue().splitlines()]
        self._lines.seek(0)
        self._lines.truncate()
        return json.dumps([*events, bool(done)])


def work(job: Job, sender: Sender) -> None:
    """Until the folder is complete, or this process's share of it is done."""
    console.be_quiet(bool(job.settings["quiet"]))
    chain = job.chain(sender.costs)
    passes = job.passes(chain, sender)
    try:
        passes.out.refresh()
        passes.run(job.indices)
    finally:
        passes.close()


def _terminate(number: int, frame: FrameType | None) -> None:
    """End this process. A second signal must not interrupt the removal of unfinished files."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)


def _end_with_starter() -> None:
    """Wait for the end of standard input, which is that of the starter, and end this process as on SIGTERM."""
    while os.read(0, 1 << 10):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
