"""Perform commands for programs: as on the command line, without standard output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from capivara_cli.pipeline.command import Invocation


def performed(invocation: Invocation) -> dict[str, Any]:
    """Perform a command, measure its cost, and return its summary. Raises the errors of the command."""
    from capivara_cli.cli.perform import perform  # imports Typer and the meters

    return perform(invocation, prints=False)


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave PyTorch's random numbers as they were, if torch is loaded: training seeds them."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield
