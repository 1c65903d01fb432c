"""docs/benchmarks.md matches the stored results, and has every promised comparison."""

from __future__ import annotations

import importlib
import json
import re

import pytest
from support.made import ROOT

PEERS = {
    "train_step": "original recipe",
    "caption": "The original's way, in our own words",
    "filter": "data-juicer",
    "translate": "argostranslate's API",
    "stream": "webdataset",
    "retrieval": "clip_benchmark",
    "open_clip_trainer": "open_clip_train.train.train_one_epoch",
    "clip_retrieval": "clip-retrieval inference",
    "search": "faiss",
    "decode": "open_clip's transform",
    "scaling": "Ray",
}
"""The promised comparisons, and the name of each peer in its section."""


@pytest.fixture(scope="module")
def peers():
    return importlib.import_module("benchmarks.peers.page")


def results() -> dict[str, dict]:
    found = [json.loads(path.read_text("utf-8")) for path in (ROOT / "benchmarks" / "peers" / "results").glob("*.json")]
    return {each["name"]: each for each in found}


def sections() -> dict[str, str]:
    """By the command of each."""
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    parts = re.split(r"^## .*\n\n", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].strip(): part for part in parts}


def test_the_page_matches_the_results(peers):
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert peers.page() == page, "run: python -m benchmarks.peers --write"


def test_every_table_has_the_command_that_measures_it(peers):
    found = sections()
    assert list(found) == [f"python -m benchmarks.peers {name}" for name in peers.ORDER]
    assert set(peers.ORDER) == set(results())
    for command, text in found.items():
        name = command.split()[-1]
        assert re.search(
            r"^\*\d{4}-\d\d-\d\d.*; .* \d+ cores, .*load [\d.]+ before, [\d.]+ after; capivara ", text, re.M
        ), name


@pytest.mark.parametrize("name", PEERS)
def test_the_promised_comparisons_are_there(name):
    assert PEERS[name] in sections()[f"python -m benchmarks.peers {name}"]
    assert results()[name]["ratios"], name


def test_every_ratio_is_a_result(peers):
    for command, text in sections().items():
        kept = results()[command.split()[-1]]["ratios"]
        shown = re.findall(r"^\| (.*) \| ([\d.,]+×) \|$", text, re.M)
        assert shown == [(label, peers.times(value)) for label, value in kept.items()], command
        assert len(re.findall(r"[\d.,]+ ?(?:×|times as)", text)) == len(shown), f"{command}: a ratio from nowhere"


def test_texts_hold_no_numbers_of_their_own(peers):
    from benchmarks.peers.results import comparison

    for name in peers.ORDER:
        text = re.sub(r"\{[^}]*\}|`[^`]*`", "", comparison(name).TEXT)
        assert not re.search(r"\d+(\.\d+)?( ?%| ?×| times)", text), name


def test_a_comparison_gives_what_its_section_needs(peers):
    from benchmarks.peers.results import Setup, measured

    found = measured("stream", Setup(small=True))
    assert found["command"] == "python -m benchmarks.peers stream --small"
    assert [row["way"] for row in found["tables"]["ways"]] == ["capivara", "tarfile", "webdataset"]
    assert list(found["ratios"]) == ["tarfile / capivara", "webdataset / capivara"]
    assert found["versions"].keys() == {"capivara", "Python", "webdataset"}
    assert found["facts"] == {"samples": 200, "image_kb": 53, "repeats": 5}
    text = peers.section(found)
    assert text.startswith(
        "## Reading and writing shards\n\n    python -m benchmarks.peers stream --small\n\n200 samples"
    )
    assert f"| webdataset / capivara | {peers.times(found['ratios']['webdataset / capivara'])} |" in text


def test_the_simulation_takes_its_rates_from_the_results(peers):
    simulate = importlib.import_module("benchmarks.simulate")
    assert simulate.MEASURED["pass_us"][0] == results()["stream"]["tables"]["ways"][0]["us"]
    page = (ROOT / "docs" / "simulation.md").read_text("utf-8")
    assert simulate.page() == page, "run: python -m benchmarks.simulate --write"


def test_numbers_are_written_by_their_size(peers):
    assert [peers.times(value) for value in (0.917, 8.222, 62.0, 1234.5)] == ["0.92×", "8.22×", "62.0×", "1,234×"]
    columns = {"way": ("", ""), "us": ("µs", ",.1f")}
    rows = [{"way": "a", "us": 1234.56}, {"way": "b", "us": None}]
    assert peers.table(columns, rows) == "|  | µs |\n| --- | ---: |\n| a | 1,234.6 |\n| b |  |"
