"""The texts of cells: stars at their thresholds, one decimal, and a dash for nothing."""

from __future__ import annotations

import pytest

from capivara_cli.evaluation.results import Versus
from capivara_cli.reports.tables.table import Column, Table, difference, interval, number, stars, versus_heading


@pytest.mark.parametrize(
    ("p", "expected"),
    [(None, ""), (1.0, ""), (0.05, ""), (0.0499, "*"), (0.01, "*"), (0.00999, "**"), (0.0, "**")],
)
def test_a_star_is_for_less_than_its_threshold(p: float | None, expected: str) -> None:
    assert stars(p) == expected


def test_the_adjusted_p_value_decides_where_there_is_one() -> None:
    assert difference(Versus("base", 1.25, None, 0.001, 0.06)) == "+1.2"
    assert difference(Versus("base", -0.04, None, 0.001)) == "-0.0**"
    assert (difference(None), difference(None, "")) == ("—", "")


def test_numbers_have_one_decimal() -> None:
    assert [number(value) for value in (None, 0.0, 99.95, 100.0, -1.06)] == ["—", "0.0", "100.0", "100.0", "-1.1"]
    assert (interval(None), interval((1.26, 33.34))) == ("—", "1.3–33.3")


@pytest.mark.parametrize(
    ("model", "heading"),
    [
        ("toy", "vs toy"),
        ("runs/pt", "vs runs/pt"),
        ("somewhere/else/runs/pt-seed0/", "vs pt-seed0"),
        ("xlm-roberta-base-ViT-B-32", "vs xlm-roberta-bas…"),
        ("hf-hub:imageomics/bioclip", "vs bioclip"),
    ],
)
def test_the_heading_of_differences_names_the_model(model: str, heading: str) -> None:
    assert versus_heading(model) == heading


def test_headings_that_columns_share() -> None:
    columns = tuple(Column(str(place), over=over) for place, over in enumerate(["", "a", "a", "", "b"]))
    assert Table("t", columns, ()).spans == [("", 1), ("a", 2), ("", 1), ("b", 1)]
    assert Table("t", columns[:1], ()).spans == []
