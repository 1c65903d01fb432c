"""Options of commands as dataclass fields: each field knows its default, help and bounds."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from capivara_cli.errors import UsageError


def opt(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    metavar: str = "",
    envvar: str = "",
    tuning: bool = False,
) -> Any:
    """A field of an options dataclass: the one place that knows its default, help and bounds; its name is the flag.

    ``tuning`` is for what changes how fast, not what is written: it may differ when a folder is gone on with.
    """
    metadata = {"help": help, "min": min, "max": max, "metavar": metavar, "envvar": envvar, "tuning": tuning}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Options that every stage and command shares; none of them changes what a sample becomes but the seed."""

    out: str = opt("", "folder for the result [default: standard output, or <input>-<stage>/ on a terminal]")
    device: str = opt("auto", "auto, cpu, cuda, cuda:1, mps …")
    seed: int = opt(0, "seed of everything random", min=0)
    rejects: str = opt("", "folder that keeps every dropped sample, with the reason as dropped.json")
    workers: int = opt(1, "processes on this machine that share the shards", min=1)
    share: str = opt(
        "", "I/N: only every Nth shard, from the Ith [default: RANK of WORLD_SIZE, or what Slurm says, if they are set]"
    )
    engine: str = opt("local", "what starts the workers: local, ray")
    address: str = opt("", "the Ray cluster to join [default: one on this machine]")
    gpus_per_worker: float = opt(1.0, "share of a GPU that a worker gets from Ray, where there are GPUs", min=0)
    max_failures: int = opt(-1, "stop when more than this many samples cannot be used; -1: never", min=-1)
    energy: bool = opt(True, "measure the energy used")
    country: str = opt("", "ISO country code (BRA, IND, ZAF …) for the carbon intensity [default: world average]")
    region: str = opt("", "its state, province or zone, for USA, CAN, CHN, SWE, NOR and FIN")
    intensity: str = opt("", "carbon intensity of your electricity, instead of a country's", metavar="G_PER_KWH")
    ledger: str = opt("", "append what this command cost to this file", envvar="CAPIVARA_LEDGER")
    quiet: bool = opt(False, "say nothing but errors")
    dry_run: bool = opt(False, "do nothing but say what it would take: time, memory, disk, energy")
    summary: str = opt("", "write the summary as JSON to this file")


def check_bounds(options: Any) -> None:
    """Raise ``UsageError`` for a value outside the bounds its field declares."""
    for each in fields(options):
        value, low, high = getattr(options, each.name), each.metadata.get("min"), each.metadata.get("max")
        flag = flag_of(each.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if value != value or (low is not None and value < low) or (high is not None and value > high):
            bounds = " and ".join(
                text for text in (f"at least {low}" * (low is not None), f"at most {high}" * (high is not None)) if text
            )
            raise UsageError(f"{flag} {value}: must be {bounds or 'a number'}")


def flag_of(name: str) -> str:
    """``batch_size`` -> "--batch-size"; ``from_`` (a Python keyword otherwise) -> "--from"."""
    return "--" + name.rstrip("_").replace("_", "-")


def default_of(each: Any) -> Any:
    """The default of a dataclass field, ``...`` when it has none."""
    return ... if each.default is MISSING else each.default
