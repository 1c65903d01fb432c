"""Shards from a web server: what reading ahead saves: ``benchmarks/remote.py``."""

from __future__ import annotations

from benchmarks import remote
from benchmarks.peers.apart import apart, peak_mb
from benchmarks.peers.results import Found, Row, Setup

TITLE = "Shards from a web server"
PACKAGES = ("httpx",)
COLUMNS = {"ways": {"way": ("", ""), "seconds": ("seconds", ",.2f"), "mb_s": ("MB/s", ",.0f")}}
TEXT = """
{megabytes} MB of samples of 50 KB from a server on the same machine: one that sends 100 MB/s at most, to a stage that
works about as long on a sample as it takes to come, and one that sends as fast as it can.

{ways}

{ratios}

The process that reads takes {peak:,.0f} MB at most.
"""


def run(megabytes: int) -> dict[str, object]:
    return {"seconds": remote.measured(megabytes), "peak": peak_mb()}


def measure(setup: Setup) -> Found:
    megabytes = 20 if setup.small else 300
    found = apart(run, megabytes)
    seconds: dict[str, float] = found["seconds"]
    rows: list[Row] = [{"way": way, "seconds": each, "mb_s": megabytes / each} for way, each in seconds.items()]
    first, ahead, fast, local = seconds.values()
    ratios = {"downloaded first / read ahead": first / ahead, "fast server / local file, bytes only": fast / local}
    return Found({"ways": rows}, ratios, {"megabytes": megabytes, "peak": found["peak"]})
