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


def labels(svg: str) -> list[str]:
    return re.findall("<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize(
    ("last", "ticks"),
    [
        (1, ["0", "1"]),
        (3, ["0", "1", "2", "3"]),
        (7, ["0", "2", "4", "6"]),
        (150, ["0", "50", "100", "150"]),
        (1500, ["0", "500", "1,000", "1,500"]),
    ],
)
def test_steps_are_whole_and_round(last: int, ticks: list[str]) -> None:
    svg = charts.lines({"loss": ([last], [0.5])}, "loss", f"a curve to {last}", last)
    assert labels(svg)[: len(ticks) + 1] == [*ticks, "step"]


def test_small_and_negative_numbers_are_written_out() -> None:
    steps = [1, 2, 3]
    assert "0.00002" in labels(charts.lines({"lr": (steps, [1e-5, 2e-5, 3e-5])}, "", "rate", 3))
    shown = labels(charts.lines({"loss": (steps, [-1.0, 0.0, 1.0])}, "", "loss", 3))
    assert {"−1", "0", "1"} <= {*shown} and "−0" not in shown


def test_a_gain_is_bold_and_coloured_only_if_it_is_significant() -> None:
    rows = [charts.Gain("a", 5.0, None, True), charts.Gain("b", 4.0, None, False), charts.Gain("c", 3.0)]
    svg = charts.gains(rows, "points", "three gains")
    styles = re.findall(r'<text style="([^"]*)"[^>]*>(\+[^<]*)</text>', svg)
    shown = {label: ("var(--soft)" in style, "700" in style) for style, label in styles}
    assert shown == {"+5.0*": (False, True), "+4.0 n.s.": (True, False), "+3.0": (True, False)}
    assert svg.count("fill: var(--accent)") == 1 and svg.count("fill: var(--base)") == 2


def test_names_of_classes_carry_their_language() -> None:
    assert '<g lang="ar">' in charts.confusion([[1]], ["بيت"], "one", "ar")
    assert "<g lang" not in charts.confusion([[1]], ["house"], "one")


def test_a_long_curve_is_thinned_to_means() -> None:
    assert charts.thinned([1.0, 2.0]) == [1.0, 2.0]
    assert charts.thinned([float(value) for value in range(120)])[:2] == [0.5, 2.5]
    assert len(charts.thinned([0.0] * 1001)) == 60
