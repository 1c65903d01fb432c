"""The program of a worker: ``python -m capivara_cli.pipeline.workers.worker``, a job on stdin, events on stdout.

It ends when its standard input ends, so it does not outlive the process that started it. Its messages for people are
events, too: if several workers send the same message, the parent shows it once.
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
_EVERY = 0.5  # s: between two reports of samples


class EventSender:
    """The ``Books`` of a worker: sends events to the process that started it. ``costs`` are those of this process."""

    def __init__(self, out: TextIO) -> None:
        self.costs = Costs()
        self._out = out
        self._lock = threading.Lock()
        self._advanced = 0
        self._next = 0.0

    def send(self, **event: Any) -> None:
        """Send one event as a line of JSON."""
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
        """Send the number of samples that were read since the last report."""
        if self._advanced:
            self.send(advanced=self._advanced)
            self._advanced = 0

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        self.flush()
        self.send(finished=name, steps=[counts_of(tally, with_failed=True).to_json() for tally in tallies])


class _StderrEvents(io.TextIOBase):
    """A text stream for standard error: each line becomes an event."""

    def __init__(self, sender: EventSender) -> None:
        self._sender = sender
        self._incomplete = ""

    def write(self, text: str) -> int:
        *lines, self._incomplete = (self._incomplete + text).split("\n")
        for line in lines:
            with contextlib.suppress(OSError):  # the parent has ended, and this process will
                self._sender.send(said=line)
        return len(text)

    def writable(self) -> bool:
        return True


def main() -> int:
    """Read the job, write shards until the folder or share is complete, and return the exit code."""
    data = os.dup(1)
    os.dup2(2, 1)
    sender = EventSender(open(data, "w", encoding="utf-8"))  # noqa: SIM115  open as long as the process
    sys.stderr = cast(TextIO, _StderrEvents(sender))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers on Ctrl-C
    signal.signal(signal.SIGTERM, _terminate)
    job = Job.parse(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, name="capivara-parent", daemon=True).start()
    return guarded(lambda: work(job, sender), sender)[0]


def guarded(work: Callable[[], Result], sender: EventSender) -> tuple[int, Result | None]:
    """Run ``work``; return an exit code and its result, None after an error. Errors are sent as events."""
    try:
        result = work()
    except CapivaraError as error:
        sender.send(error=error.message, hint=error.hint, code=error.exit_code)
        return error.exit_code, None
    except OSError as error:
        sender.send(failed=error.errno, strerror=error.strerror or str(error), file=error.filename)
        return 1, None
    except Exception:  # noqa: BLE001  a bug: the parent shows its traceback
        import traceback

        sender.send(bug=traceback.format_exc())
        return BUG, None
    sender.flush()
    spent = sender.costs.steps.take()
    sender.send(flops=sender.costs.operations.take(), spent=[[number, *each] for number, each in spent.items()])
    return 0, result


class EventCollector(EventSender):
    """Collects the events of each task, for a worker that returns them with the result of the task."""

    def __init__(self) -> None:
        self._lines = io.StringIO()
        super().__init__(self._lines)
        sys.stderr = cast(TextIO, _StderrEvents(self))

    def answer(self, work: Callable[[], bool], after: Callable[[], None]) -> str:
        """Run ``work``, then ``after``; return a JSON list of their events, and last the result of ``work``."""
        _, result = guarded(work, self)
        after()
        events = [json.loads(line) for line in self._lines.getvalue().splitlines()]
        self._lines.seek(0)
        self._lines.truncate()
        return json.dumps([*events, bool(result)])


def work(job: Job, sender: EventSender) -> None:
    """Write shards until the folder or this process's share of it is complete."""
    console.be_quiet(bool(job.settings["quiet"]))
    chain = job.chain(sender.costs)
    plan = job.plan(chain, sender)
    try:
        plan.out.refresh()
        plan.run(job.indices)
    finally:
        plan.close()


def _terminate(number: int, frame: FrameType | None) -> None:
    """End this process. A second signal must not interrupt the removal of unfinished files."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)


def _end_with_parent() -> None:
    """Wait for the end of standard input, which ends with the parent; then end this process as on SIGTERM."""
    while os.read(0, 1 << 10):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
