"""Charts of a report: the page's colours, any text, any script, bounded size."""

from __future__ import annotations

import re

import pytest

from capivara_cli.reports.page import charts


def test_charts_take_the_colours_of_the_page_and_text_as_it_is() -> None:
    svg = charts.bars([("<b>$a_1$ \x1b", 2.0, "2 & 3")], "a <chart>")
    assert "&lt;b&gt;$a_1$ \\x1b</text>" in svg and "2 &amp; 3</text>" in svg
    assert 'aria-label="a &lt;chart&gt;"' in svg and "fill: var(--accent)" in svg
    assert "#0101" not in svg and "http" not in svg and 'viewBox="0 0 ' in svg


@pytest.mark.filterwarnings("error")
def test_names_in_any_script_are_left_to_the_browser() -> None:
    names = ["गेंद", "بيت", "木", "ball"]
    svg = charts.confusion([[1, 0, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], names, "four")
    assert all(f">{name}</text>" in svg for name in names)
    assert re.findall(r"fill: var\(--(\w+)\); fill-opacity: ([\d.]+)", svg) == [
        ("alarm", "0.56"),
        ("accent", "0.56"),
    ]  # the share of a class; all of it is opaque


def test_a_long_curve_is_thinned_to_means() -> None:
    assert charts.thinned([1.0, 2.0]) == [1.0, 2.0]
    assert charts.thinned([float(value) for value in range(120)])[:2] == [0.5, 2.5]
    assert len(charts.thinned([0.0] * 1001)) == 60
