"""Inputs change, outputs and records are damaged between two runs: no wrong result is used, and the page says so.

By default a part of the cells is played, the same in every run. ``CAPIVARA_TEST_MATRIX=all`` plays all of them, which
takes some five minutes of a processor.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator

import pytest
from reliability.recovery import CELLS, WRONG, Cell, Lab
from reliability.recovery_commands import COMMANDS, Command
from reliability.recovery_events import ROWS, Row
from support.made import ROOT

from capivara_cli.reports import markdown
from capivara_cli.storage import found_claims

ALL = os.environ.get("CAPIVARA_TEST_MATRIX") == "all"
_SECTION = (ROOT / "docs" / "reliability.md").read_text("utf-8").partition("## Between two runs")[2]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found_claims, "_UNREADABLE", 0.05)  # s
        yield Lab(tmp_path_factory.mktemp("recovery"))


def chosen(row: Row, command: Command) -> bool:
    """Whether a cell is played by default: every tenth one, of commands that load a model every thirtieth, and none
    of ``adapt``, which runs the others."""
    number = zlib.crc32(f"{row.title} {command.name}".encode())
    return ALL or (command.name != "adapt" and number % (30 if command.slow else 10) == 0)


@pytest.mark.parametrize(
    ("row", "command"), [pytest.param(*cell, id=f"{cell[0].title}: {cell[1].name}") for cell in CELLS if chosen(*cell)]
)
def test_no_wrong_result_is_used(row: Row, command: Command, lab: Lab) -> None:
    if not _SECTION or on_the_page(row, command) == WRONG:
        pytest.xfail("the page says that this is not yet right")
    assert in_words(lab.play(row, command)) == on_the_page(row, command), "run: python docs/make_reliability.py between"


def in_words(cell: Cell) -> str:
    """A cell with its messages in place of their numbers."""
    parts = [
        f"{what} ({'<br>'.join(markdown.code(line) for line in said.splitlines())})" if said else what
        for what, said in cell.steps
    ]
    return ", then ".join(parts)


def on_the_page(row: Row, command: Command) -> str:
    """The cell of the page, with the messages in place of their numbers."""
    messages = dict(re.findall(r"^(\d+)\. (.*)$", _SECTION, re.MULTILINE))
    table = _SECTION.partition(f"### {row.table}\n")[2]
    line = next(line for line in table.splitlines() if line.startswith(f"| {row.title} |"))
    cell = line.strip("| ").split(" | ")[1 + COMMANDS.index(command)]
    return re.sub(r"\((\d+)\)", lambda found: f"({messages[found[1]]})", cell)


@pytest.mark.skipif(not _SECTION, reason="the page is not made yet")
def test_the_page_has_every_row_and_column() -> None:
    found = re.findall(r"^\| ([^|]+) \|", _SECTION, re.MULTILINE)
    assert [title for title in found if title.strip("- ")] == [row.title for row in ROWS]
    assert f"{len(CELLS)} cases" in _SECTION
    assert all(f"- {command.name}: " in _SECTION for command in COMMANDS)
