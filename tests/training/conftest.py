from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder with a tiny random model; see ``tiny.py``."""
    from tiny import tiny_clip

    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bitwise equality is asserted here, and the machine is shared: one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
