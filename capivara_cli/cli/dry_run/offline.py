"""No network for estimates: what is not on this machine yet is told apart from what is wrong."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.models.hub import NotHere


@contextlib.contextmanager
def hub_offline() -> Iterator[None]:
    """Download nothing from the Hugging Face hub inside: what the cache lacks raises ``NotHere``."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def refuse_network() -> list[str]:
    """Refuse every connection of this process from now on; returns the list that will name what was refused.

    Only the process of a trial calls this: whatever library a stage uses, nothing is downloaded or asked on trial.
    """
    refused: list[str] = []

    def refuse(*address: Any, **_: Any) -> Any:
        refused.append(str(address[-1:]))
        raise OSError("an estimate uses no network")

    socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign,assignment]
    return refused


def is_absent(error: CapivaraError, refused: list[str]) -> bool:
    """Whether the only problem is that something has to be downloaded first."""
    return isinstance(error, NotHere) or bool(refused)


def absence(message: str) -> str:
    """The remark that something is not here; why it could not be downloaded does not matter to an estimate."""
    return f"{message.partition(', but ')[0]}; not on this machine yet"
