"""What the system says of this process and the commands it has started: processor time, memory, when it began."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path


def cpu_seconds(alive: Iterable[int] = ()) -> float:
    """Of this process and of the commands it has waited for, and theirs; of ``alive``, commands still at work, too."""
    own, waited = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime
    return ended + sum(_cpu_seconds(each) for each in alive if each != os.getpid())


def _cpu_seconds(process: int) -> float:
    """Of a process and of what it has waited for."""
    import psutil

    try:
        return float(sum(psutil.Process(process).cpu_times()[:4]))
    except psutil.Error:  # it has ended
        return 0.0


def busy_seconds() -> float:
    """Processor seconds of everything that runs on this machine, since it was started."""
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
    """This process and all that descend from it and are alive."""
    own = os.getpid()
    if not Path(f"/proc/{own}/task/{own}/children").exists():
        import psutil

        return [own, *(each.pid for each in psutil.Process().children(recursive=True))]
    found = [own]
    for process in found:  # which grows while it is gone through
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
    """Memory that these processes hold; a page that several processes share is split among them."""
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
    """Shared pages counted whole: where the system does not say more."""
    import psutil

    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return 0
