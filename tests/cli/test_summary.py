"""The summary line of a command: every number and its unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from capivara_cli.cli.summary import summary_line, write_summary


def test_every_number_of_the_line() -> None:
    summary = {
        "read": 12_000, "written": 11_000, "dropped": {"no captions": 900, "torn": 100}, "notes": {"drafts": 7},
        "resumed_shards": 2, "out": "there", "seconds": 8.0, "footprint": {"kwh": 0.00125},
    }  # fmt: skip
    assert summary_line("filter", summary) == (
        "capivara filter: read 12,000, wrote 11,000, dropped 1,000 (no captions: 900, torn: 100); drafts: 7; "
        "up to date (2 shards); in there/; 8.0 s, 1,500 samples/s, 1.2 Wh"
    )


@pytest.mark.parametrize(("shards", "says"), [(0, ""), (1, "; up to date (1 shard)"), (2, "; up to date (2 shards)")])
def test_a_line_leaves_out_what_there_is_not(shards: int, says: str) -> None:
    line = summary_line("eval", {"read": 3, "resumed_shards": shards, "out": "-", "seconds": 2.0})
    assert line == f"capivara eval: read 3, dropped 0{says}; 2.0 s, 2 samples/s"


def test_no_time_at_all_is_no_error() -> None:
    assert "samples/s" in summary_line("eval", {"read": 3, "seconds": 0.0})


def test_the_name_in_the_summary_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"command": "adapt", "read": 1, "seconds": 1.0}
    assert summary_line("train", summary).startswith("capivara adapt: ")
    write_summary(summary, str(tmp_path / "s.json"), as_json=False)
    assert json.loads((tmp_path / "s.json").read_text()) == summary
    assert capsys.readouterr().out == ""
