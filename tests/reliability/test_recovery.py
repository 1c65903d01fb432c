"""Inputs change, outputs and records are damaged between two runs: no wrong result is used, and the page says so."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import pytest
from reliability.recovery import CELLS, Lab
from reliability.recovery_commands import Command
from reliability.recovery_events import Row

ALL = os.environ.get("CAPIVARA_TEST_MATRIX") == "all"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    from capivara_cli.storage import claims

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "_UNREADABLE", 0.05)
        yield Lab(tmp_path_factory.mktemp("recovery"))


def chosen(row: Row, command: Command) -> bool:
    """Whether a cell is played by default: every fourth one, of commands that load a model every tenth."""
    number = zlib.crc32(f"{row.title} {command.name}".encode())
    return ALL or number % (10 if command.slow else 4) == 0


@pytest.mark.parametrize(
    ("row", "command"), [pytest.param(*cell, id=f"{cell[0].title}: {cell[1].name}") for cell in CELLS if chosen(*cell)]
)
def test_no_wrong_result_is_used(row: Row, command: Command, lab: Lab) -> None:
    cell = lab.play(row, command)
    print(cell)
