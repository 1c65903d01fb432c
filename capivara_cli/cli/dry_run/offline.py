"""Keeps estimates off the network. A file that must be downloaded first is not an error of the command."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.models.hub import MissingFiles


@contextlib.contextmanager
def hub_offline() -> Iterator[None]:
    """Download nothing from the Hugging Face hub in this block: a file that is not cached raises ``MissingFiles``."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def refuse_network() -> list[str]:
    """Refuse all connections of this process from now on; return the list that will have the refused addresses.

    Only the process of a trial calls this. So no library that a stage uses can download anything.
    """
    refused: list[str] = []

    def refuse(*address: Any, **_: Any) -> Any:
        refused.append(str(address[-1:]))
        raise OSError("an estimate uses no network")

    socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign,assignment]
    return refused


def is_missing_download(error: CapivaraError, refused: list[str]) -> bool:
    """Whether the reason for an error is a file that must be downloaded first."""
    return isinstance(error, MissingFiles) or bool(refused)


def missing_remark(message: str) -> str:
    """The remark for a missing file, without the reason why it could not be downloaded."""
    return f"{message.partition(', but ')[0]}; not on this machine yet"
