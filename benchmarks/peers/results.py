"""The results of a comparison, with machine and versions, and the file that stores them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "results"
Row = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """``small``: as little as can be run, to try a comparison out. ``photos``: a folder of images with captions."""

    small: bool = False
    photos: Path | None = None


@dataclass(frozen=True)
class Found:
    """``tables``: rows by the names of COLUMNS. ``ratios``: how many times more the first of "a / b" takes or does.

    ``facts``: other numbers and words for TEXT. ``versions``: of packages in an environment of their own.
    """

    tables: dict[str, list[Row]]
    ratios: dict[str, float]
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def comparison(name: str) -> ModuleType:
    return import_module(f"benchmarks.peers.{name}")


def command(name: str) -> str:
    return f"python -m benchmarks.peers {name}"


def measured(name: str, setup: Setup) -> dict[str, Any]:
    """Run a comparison; returns what its file holds."""
    module = comparison(name)
    known = versions(module.PACKAGES)
    before = load()
    found: Found = module.measure(setup)
    return {
        "name": name,
        "command": command(name) + (" --small" if setup.small else ""),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "hardware": hardware(),
        "load": {"before": before, "after": load()},
        "versions": {**known, **found.versions},
        "facts": rounded(found.facts),
        "tables": rounded(found.tables),
        "ratios": rounded(found.ratios),
    }


def keep(result: dict[str, Any]) -> Path:
    path = FOLDER / f"{result['name']}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def kept(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return result


def rounded(value: Any) -> Any:
    """Numbers rounded to six digits."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def hardware() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30),
        "gpu": said_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
    }


def processor() -> str:
    """Its name, and whether it has matrix units for bfloat16, which some results depend on."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    units = " with AMX" if any("amx_bf16" in line for line in lines) else ""
    return (named[0] if named else platform.processor() or platform.machine()) + units


def load() -> float:
    """Processes that want a core, over the last minute."""
    return round(os.getloadavg()[0], 2)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {"capivara": f"{metadata.version('capivara')}{commit()}", "Python": platform.python_version()}
    try:
        return found | {name: metadata.version(name) for name in packages}
    except metadata.PackageNotFoundError as missing:
        raise SystemExit(f"{missing.name} is not installed: pip install {missing.name}") from None


def commit() -> str:
    """The commit in parentheses, with a + where files have changed since; nothing outside a clone."""
    said = said_by("git", "describe", "--always", "--dirty=+", "--exclude=*")
    return f" ({said})" if said else ""


def said_by(*words: str) -> str:
    """The output of a program; "" where it fails or is not installed."""
    if shutil.which(words[0]) is None:
        return ""
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
