"""What the tests of the library share: shards in the working folder, as in the examples of the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made import shard_bytes, toy_like


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two shards of three samples each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number:05d}.tar").write_bytes(shard_bytes(toy_like(3, 3 * number)))
    monkeypatch.chdir(tmp_path)
    return tmp_path
