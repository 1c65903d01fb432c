"""Run work in a new process, which shares no memory, caches or threads with others."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.results import ROOT

_CALL = """
import importlib, json, sys
module, name = sys.argv[1:]
print(json.dumps(getattr(importlib.import_module(module), name)(*json.load(sys.stdin))))
"""


def apart(work: Callable[..., Any], *given: Any, python: Path | str = sys.executable) -> Any:
    """What ``work``, a function at the top of a module, returns in another process; all of it in JSON."""
    command = [str(python), "-c", _CALL, work.__module__, work.__name__]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise SystemExit(f"{work.__name__} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
    """Ours, with the benchmarks to be found and no hub to be asked."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


def peak_mb() -> float:
    """The most memory that was resident in this program so far.

    What ``getrusage`` says begins with the peak of the process that started this one; ``VmHWM`` does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) * 1.024e-3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
