"""CPU time, memory and age of this process and its descendants, as the system counts them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path


def cpu_seconds(alive: Iterable[int] = ()) -> float:
    """CPU seconds of this process, of its ended descendants, and of ``alive``, descendants that are still running."""
    own, waited = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime
    return ended + sum(_cpu_seconds(each) for each in alive if each != os.getpid())


def _cpu_seconds(process: int) -> float:
    """CPU seconds of another process and of its ended descendants."""
    import psutil

    try:
        return float(sum(psutil.Process(process).cpu_times()[:4]))
    except psutil.Error:  # it has ended
        return 0.0


def busy_seconds() -> float:
    """CPU seconds of all processes since this machine was started."""
    import psutil

    times = psutil.cpu_times()
    return float(sum(times[:3]) + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0))


def age() -> float:
    """Seconds since this process was started."""
    try:
        after_name = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):  # no Linux
        import psutil

        return time.time() - float(psutil.Process().create_time())


def processes() -> list[int]:
    """The ids of this process and of its living descendants."""
    own = os.getpid()
    if not Path(f"/proc/{own}/task/{own}/children").exists():
        import psutil

        return [own, *(each.pid for each in psutil.Process().children(recursive=True))]
    found = [own]
    for process in found:  # the list grows while the loop runs
        found += _children(process)
    return found


def _children(process: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except (OSError, ValueError):  # it has ended
        pass
    return found


def resident_bytes(processes: Iterable[int]) -> int:
    """Resident bytes of these processes; a page that several processes share is split among them."""
    return sum(map(_resident, processes))


def _resident(process: int) -> int:
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except ProcessLookupError:
        return 0
    except OSError:
        pass
    return _whole_resident(process)


def _whole_resident(process: int) -> int:
    """Resident bytes with shared pages counted in full, for systems that do not split them."""
    import psutil

    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return 0
