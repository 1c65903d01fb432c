"""An environment without keys, ledger or terminal width: messages on the page must not depend on them."""

from __future__ import annotations

import pytest
from reliability.running import ENVIRONMENT, UNSET


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
