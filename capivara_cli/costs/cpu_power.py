"""The power of this machine's processor if it cannot be measured: its TDP in codecarbon's table."""

from __future__ import annotations

import csv
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from capivara_cli.costs.carbon_intensity import data_folder

WATTS_PER_THREAD = 4.0
"""codecarbon's constant for a processor that is not in its table."""


@dataclass(frozen=True)
class Processor:
    """A processor that draws ``watts`` if all its ``threads`` are busy; ``source`` is the origin of this value."""

    name: str
    watts: float
    threads: int
    source: str

    @property
    def watts_per_thread(self) -> float:
        """The energy of one CPU second, in joules."""
        return self.watts / self.threads


@functools.cache
def this_processor() -> Processor:
    """The processor of this machine.

    A virtual machine has only a part of a processor, so the TDP of the processor does not apply to it.
    """
    name, sockets, virtual = described()
    threads = os.cpu_count() or 1
    found = None if virtual else table_entry(name)
    if found is None:
        why = "a virtual machine" if virtual else "a processor that codecarbon's table does not have"
        return Processor(
            name, WATTS_PER_THREAD * threads, threads, f"modelled: {WATTS_PER_THREAD:g} W per busy thread, {why}"
        )
    entry, watts = found
    source = f"modelled: TDP of {entry} by codecarbon's table, {watts:g} W, by busy threads"
    return Processor(name, watts * sockets, threads, source)


def described() -> tuple[str, int, bool]:
    """Model name, number of processors, and whether this is a virtual machine."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return _described_elsewhere(), 1, False
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    sockets = len(set(re.findall(r"^physical id\s*:\s*(\d+)$", text, re.MULTILINE)))
    virtual = re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE) is not None
    return named[1].strip() if named else "unknown", max(1, sockets), virtual


def _described_elsewhere() -> str:
    import platform
    import subprocess

    try:
        words = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        name = ""
    return name or platform.processor() or "unknown"


def table_entry(model: str) -> tuple[str, float] | None:
    """(name, TDP in watts) of the entry of codecarbon's table for this model, matched as codecarbon does.

    An entry matches if the names are equal, or all words of one name are in the other. None unless exactly one matches.
    """
    wanted = re.sub(r"\(R\)|\(TM\)| CPU\b.*| @ .*", "", model)
    try:
        with open(data_folder() / "hardware" / "cpu_power.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
    except OSError:
        return None
    entries = [(row[0], float(row[1])) for row in rows if row[1].replace(".", "", 1).isdigit()]  # one says "27.29.5"
    for entry in entries:
        if entry[0].lower() == wanted.lower():
            return entry
    words = _words(wanted)
    found = [entry for entry in entries if words and (words <= (own := _words(entry[0])) or own <= words)]
    return found[0] if len(found) == 1 else None


def _words(name: str) -> set[str]:
    return set(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())
