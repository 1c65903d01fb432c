"""Every estimate is made in a folder of its own; fixtures replace the trial by made answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.warm import CAPIVARA

from capivara_cli.cli.dry_run import trial_client


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CAPIVARA_LEDGER", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial_client, "_LIMIT", 600.0)  # however busy this machine is, a trial comes to its end
    monkeypatch.setattr(trial_client, "SECONDS", 300.0)
    monkeypatch.setattr(trial_client, "_PROGRAM", [*CAPIVARA, *trial_client._PROGRAM[1:]])
    return tmp_path


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """No other process is started; what it would have been asked is in the list."""
    asked: list[dict[str, Any]] = []

    def ask(request: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
        asked.append(request)
        return [], "not in this test"

    monkeypatch.setattr(trial_client, "_ask", ask)
    return asked


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """No other process is started; a trial answers what a test puts into the list."""
    answers: list[dict[str, Any]] = []
    monkeypatch.setattr(trial_client, "_ask", lambda request: (answers, ""))
    return answers
