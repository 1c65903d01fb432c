"""Tables that fit the terminal."""

from __future__ import annotations

import pytest

from capivara_cli.reports.tables.fitted import wrapped

ROWS = [["a-long-name", "one two three four", "3"], ["b", "five", "10"]]
HEADER = ["name", "what it is", "n"]


def width(rows: list[list[str]]) -> int:
    """The width of the table, with two spaces between columns."""
    return sum(max(map(len, column)) for column in zip(HEADER, *rows, strict=True)) + 2 * (len(HEADER) - 1)


def test_a_table_that_fits_is_left_alone() -> None:
    assert wrapped(ROWS, HEADER, 80) == ROWS


@pytest.mark.parametrize("room", [34, 30, 28])
def test_the_widest_cells_are_wrapped_and_the_first_column_last(room: int) -> None:
    found = wrapped(ROWS, HEADER, room)
    assert width(found) <= room
    assert found[0][0] == "a-long-name"
    assert " ".join(row[1] for row in found).split() == ["one", "two", "three", "four", "five"]
    assert [row[2] for row in found if row[2]] == ["3", "10"]


def test_no_column_gets_narrower_than_its_title() -> None:
    found = wrapped(ROWS, HEADER, 5)
    assert max(len(row[0]) for row in found) == 8 and all(len(row[1]) <= 10 for row in found)
    assert "".join(row[0] for row in found) == "a-long-nameb"
