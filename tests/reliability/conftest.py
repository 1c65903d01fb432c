"""What the messages on the page may not depend on: keys, the width of the terminal, a ledger of the user's."""

from __future__ import annotations

import pytest
from reliability.running import ENVIRONMENT, UNSET


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
