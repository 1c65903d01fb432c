"""Checks and trials that download nothing: what is not on this machine yet is told apart from what is wrong."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

from capivara_cli.cli.dry_run.rehearsal import Rehearsal
from capivara_cli.errors import CapivaraError
from capivara_cli.models.hub import NotHere


@contextlib.contextmanager
def offline() -> Iterator[list[str]]:
    """Nothing is asked of the network in here; what wanted to is in the list."""
    from huggingface_hub import constants

    blocked: list[str] = []
    before = constants.HF_HUB_OFFLINE, socket.socket.connect, socket.getaddrinfo

    def refuse(*address: Any, **_: Any) -> Any:
        blocked.append(str(address[-1:]))
        raise OSError("an estimate uses no network")

    constants.HF_HUB_OFFLINE = True
    socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign,assignment]
    try:
        yield blocked
    finally:
        constants.HF_HUB_OFFLINE = before[0]
        socket.socket.connect, socket.getaddrinfo = before[1:]  # type: ignore[method-assign,assignment]


def is_absent(error: CapivaraError, blocked: list[str]) -> bool:
    """Whether it is only that something would have to be downloaded."""
    return isinstance(error, NotHere) or bool(blocked)


def check(work: Callable[[], object], rehearsal: Rehearsal) -> None:
    """Do what a command checks before it begins; what would have to be downloaded first is a remark, no error."""
    with offline() as blocked:
        try:
            work()
        except CapivaraError as error:
            if not is_absent(error, blocked):
                raise
            rehearsal.remark(absence(error.message))


def absence(message: str) -> str:
    """That something is not here, without why it could not be had: nobody has asked for it yet."""
    return f"{message.partition(', but ')[0]}; not on this machine yet, what it takes is assumed"
