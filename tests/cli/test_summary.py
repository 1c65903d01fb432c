"""The summary of a command for people: every number and its unit, what is a detail, and the table of a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from capivara_cli.cli.summary import steps_table, summary_line, write_summary

SUMMARY = {
    "read": 12_000, "written": 11_000, "dropped": {"no captions": 900, "torn": 100}, "notes": {"drafts": 7},
    "resumed_shards": 2, "out": "there", "seconds": 8.0, "footprint": {"kwh": 0.00125},
}  # fmt: skip
REASONS = {"d": 1, "c": 20, "b": 300, "a": 4_000, "e": 2}


def test_every_number_of_the_line() -> None:
    line = (
        "capivara filter: read 12,000, wrote 11,000, dropped 1,000 (no captions: 900, torn: 100); drafts: 7; "
        "up to date (2 shards); in there/; 8.0 s"
    )
    assert summary_line("filter", SUMMARY) == line
    assert summary_line("filter", SUMMARY, verbose=True) == line + ", 1,500 samples/s, 1.2 Wh"


@pytest.mark.parametrize(("shards", "says"), [(0, ""), (1, "; up to date (1 shard)"), (2, "; up to date (2 shards)")])
def test_a_line_leaves_out_what_there_is_not(shards: int, says: str) -> None:
    line = summary_line("eval", {"read": 3, "resumed_shards": shards, "out": "-", "seconds": 2.0})
    assert line == f"capivara eval: read 3, dropped 0{says}; 2.0 s"


def test_of_many_reasons_and_notes_the_line_has_the_most_frequent() -> None:
    summary = {"read": 9, "dropped": REASONS, "notes": REASONS, "seconds": 1.0}
    assert summary_line("filter", summary) == (
        "capivara filter: read 9, dropped 4,323 (a: 4,000, b: 300, c: 20, 2 more with --verbose: 3); "
        "a: 4,000, b: 300, c: 20, 2 more with --verbose: 3; 1.0 s"
    )
    every = "d: 1, c: 20, b: 300, a: 4,000, e: 2"
    long = f"capivara filter: read 9, dropped 4,323 ({every}); {every}; 1.0 s, 9 samples/s"
    assert summary_line("filter", summary, verbose=True) == long


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("filter", {"written": 0, "resumed_shards": 1, "out": "there"}, "up to date (1 shard); in there/; 0.3 s"),
        ("pack", {"written": 0, "resumed_shards": 1200, "out": "in"}, "up to date (1,200 shards); in in/; 0.3 s"),
        ("train", {"dropped": {"torn": 3}, "notes": {"drafts": 7}}, "up to date; 0.3 s"),
    ],
)  # fmt: skip
def test_where_nothing_was_to_do_the_line_says_only_that(name: str, more: dict[str, Any], says: str) -> None:
    summary = {"read": 0, "dropped": {}, "notes": {}, "seconds": 0.3, **more}
    for verbose in (False, True):
        assert summary_line(name, summary, verbose=verbose, up_to_date=True) == f"capivara {name}: {says}"


PLAN = {
    "command": "caption | filter", "read": 1200, "written": 900, "dropped": {"torn": 1, "no captions left": 299},
    "notes": {}, "seconds": 3.0,
    "steps": [
        {"step": "caption", "read": 1200, "written": 1199, "dropped": {"torn": 1}, "notes": {}},
        {"step": "filter", "read": 1199, "written": 900, "dropped": {"no captions left": 299}, "notes": {}},
    ],
}  # fmt: skip
TABLE = """\
step      read  wrote  dropped  seconds  why
──────────────────────────────────────────────────────────────
caption  1,200  1,199        1      2.5  torn: 1
filter   1,199    900      299      0.5  no captions left: 299"""


def test_a_plan_has_a_table_of_its_steps_with_the_reasons_and_a_short_line() -> None:
    line = "capivara caption | filter: read 1,200, wrote 900, dropped 300; 3.0 s"
    assert summary_line("run", PLAN) == line
    assert steps_table(PLAN, [2.5, 0.5]) == TABLE


@pytest.mark.parametrize("seconds", [[], [1.0]])
def test_seconds_that_are_not_known_of_every_step_are_left_out(seconds: list[float]) -> None:
    assert "seconds" not in steps_table(PLAN, seconds)


@pytest.mark.parametrize("steps", [PLAN["steps"][:1], 150, None])  # one stage, a training, anything else
def test_only_a_plan_has_a_table(steps: Any) -> None:
    assert steps_table({**SUMMARY, "steps": steps}, []) == ""


def test_no_time_at_all_is_no_error() -> None:
    assert "samples/s" in summary_line("eval", {"read": 3, "seconds": 0.0}, verbose=True)


def test_the_name_in_the_summary_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"command": "adapt", "read": 1, "seconds": 1.0}
    assert summary_line("train", summary).startswith("capivara adapt: ")
    write_summary(summary, str(tmp_path / "s.json"), as_json=False)
    assert json.loads((tmp_path / "s.json").read_text()) == summary
    assert capsys.readouterr().out == ""
