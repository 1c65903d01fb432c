"""Short versions of ``benchmarks/kills.py`` and ``disturbances.py``: kills, stops, wrong clocks, two machines, full disks.

``CAPIVARA_KILLS=200`` makes them long.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from support import variants, warm
from support.made import ROOT, toy_like

from benchmarks import disturbances

PLAN = "dedupe | split --fraction 0 | dedupe --images exact"  # no model: starting is most of each run
LARGER = "dedupe | translate --translator toy --lang pt,xh --no-cache | dedupe --images exact"
KILLS = int(os.environ.get("CAPIVARA_KILLS", "0"))
EQUAL = "9 files equal a clean run's byte for byte, 0 hidden; 28 samples, each there once"


@pytest.fixture
def kills(shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, in a folder with shards; many images are the same as an earlier one."""
    spec = importlib.util.spec_from_file_location("kills", ROOT / "benchmarks" / "kills.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.WORKERS = 2  # type: ignore[attr-defined]
    shards(*[toy_like(16, 16 * number) for number in range(8)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return module


def test_workers_killed_many_times(kills: ModuleType) -> None:
    count = KILLS or variants.number(2, 4)
    seen = kills.kill_workers(count, PLAN, wait=0.3)
    assert seen.startswith(f"{count} workers killed one by one, ")
    assert EQUAL in seen


@pytest.mark.parametrize("mode", ["stops", "clocks", "machines"])
@pytest.mark.usefixtures("kills")
def test_runs_that_are_stopped_or_on_wrong_clocks_or_on_two_machines(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Final bytes are those of a clean run, whoever was stopped, killed, hours off or taken for dead."""
    monkeypatch.setattr(disturbances, "WORKERS", 2)
    disturbance = type(disturbances.MODES[mode])()
    count = KILLS or variants.number(1, 4)
    seen = disturbances.disturbed(disturbance, count, PLAN, wait=0.3)
    assert disturbance.seen.total() >= count
    assert EQUAL in seen


@variants.only_with_all("tests/cli/test_app.py and the full disks of tests/training")
def test_a_disk_that_fills_up_many_times(kills: ModuleType, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not _can_mount(tmp_path):
        pytest.skip("needs to mount a small file system")
    kills.CAPIVARA = warm.CAPIVARA  # type: ignore[attr-defined]  # the workers are programs of their own
    seen = kills.full_disk(2, LARGER)
    assert "runs stopped by a full disk" in seen and not seen.startswith("0 ")
    assert EQUAL in seen


def _can_mount(folder: Path) -> bool:
    import subprocess

    target = folder / "mounted"
    target.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", target], capture_output=True)
    return mounted.returncode == 0 and subprocess.run(["umount", target]).returncode == 0
