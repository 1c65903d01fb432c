"""Results over seeds: whose rows they are, and which of the seeds' bounds and p-values the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.eval_rows import recalled, typed

from capivara_cli.evaluation.results import EvalResults
from capivara_cli.reports.page.findings import Outcome, findings, outcomes, variants
from capivara_cli.reports.page.read_run import Run


def a_run(name: str, seed: int, *rows: dict[str, Any], base: str = "base", **request: Any) -> Run:
    document: Any = {
        "name": name, "request": {"lang": "pt", "lr": 0.01, **request, "seed": seed},
        "base": {"source": {"model": base, "pretrained": ""}}, "data": {"fingerprint": "sha256:1"},
    }  # fmt: skip
    results = typed(retrieval=list(rows)) if rows else EvalResults()
    return Run(Path("runs") / name, document, results, [], [], [])


def against(difference: float, p: float, width: float = 1.0) -> dict[str, Any]:
    interval = [difference - width, difference + 2 * width]
    return {"model": "base", "difference": difference, "interval": interval, "p": p / 10, "p_holm": p}


BASE = recalled("base", "pt", 40.0)
FIRST = recalled("runs/pt-seed0", "pt", 50.0, versus=against(10.0, 0.001, 1.0))
SECOND = recalled("runs/pt-seed1", "pt", 54.0, versus=against(14.0, 0.03, 4.0))


def test_over_seeds_the_mean_counts_and_the_least_certain_bounds() -> None:
    runs = [a_run("pt-seed0", 0, BASE, FIRST), a_run("pt-seed1", 1, BASE, SECOND)]
    found = findings(runs)
    assert (found.variant.name, len(found.variants), found.repeats) == ("pt", 1, [])
    outcome = found.main
    assert outcome is not None
    assert (outcome.baseline, outcome.gain, outcome.scores) == (40.0, 12.0, [50.0, 54.0])
    assert outcome.std == pytest.approx(8**0.5)
    assert outcome.gain_interval == (9.0, 22.0)  # from the lowest to the highest bound
    assert outcome.interval == (48.0, 56.25)
    assert outcome.p == 0.03  # the largest, adjusted
    alone = findings(runs[:1]).main
    assert alone is not None and (alone.std, alone.gain, alone.p) == (None, 10.0, 0.001)


def test_without_a_p_value_of_every_seed_there_is_none() -> None:
    rows = typed(retrieval=[BASE, FIRST, {**SECOND, "versus": None}]).retrieval
    assert Outcome("retrieval", rows, rows[0], rows[1:]).p is None
    assert Outcome("retrieval", rows, None, rows[1:]).is_complete is False
    with pytest.raises(ValueError, match="no base model"):
        _ = Outcome("retrieval", rows, None, rows[1:]).baseline


def test_runs_differ_by_options_and_data_and_repeat_by_seed() -> None:
    first, second = a_run("pt-seed0", 0, BASE, FIRST), a_run("pt-seed1", 1, BASE, SECOND)
    again, other, elsewhere = a_run("copy", 1), a_run("fast", 0, lr=0.02), a_run("more", 0)
    elsewhere.document["data"]["fingerprint"] = "sha256:2"
    groups = variants([first, again, other, second, elsewhere])
    assert [[run.name for run in group.runs] for group in groups] == [["pt-seed0", "pt-seed1"], ["fast"], ["more"]]
    assert [(each.run.name, each.of.name) for each in groups[0].repeats] == [("copy", "pt-seed1")]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("base", {"text": "sha256:other"}),
        ("base", {"image": "sha256:other"}),
        ("contents", {"val": "0123456789"}),
        ("batch", {"precision": "bf16"}),
        ("batch", {"size": 7}),
        ("request", {"lr": 0.02}),
        ("data", {"fingerprint": "sha256:2"}),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_variants(key: str, change: dict[str, Any]) -> None:
    first, second = a_run("pt-seed0", 0, BASE, FIRST), a_run("pt-seed1", 1, BASE, SECOND)
    assert len(variants([first, second])) == 1
    document: Any = second.document
    document[key] = document.get(key, {}) | change
    assert [[run.name for run in group.runs] for group in variants([first, second])] == [["pt-seed0"], ["pt-seed1"]]


def test_the_model_compared_with_is_the_base_even_if_a_run_has_its_name() -> None:
    run = a_run("pt", 0, recalled("runs/pt", "pt", 50.0, versus={**against(5.0, 0.2), "model": "pt"}),
                recalled("pt", "pt", 45.0), base="pt")  # fmt: skip
    (outcome,) = outcomes([run], variants([run])[0], "retrieval")
    assert (outcome.baseline, outcome.scores) == (45.0, [50.0])
    assert run.is_model("runs/pt") and not run.is_model("pt")


def test_a_trained_language_comes_first_and_then_english() -> None:
    langs = ["hi", "en", "pt", "xh"]
    rows = [recalled(model, lang, 40.0) for lang in langs for model in ("base", "runs/pt-seed0")]
    found = findings([a_run("pt-seed0", 0, *rows)])
    assert [each.lang for each in found.retrieval] == ["pt", "en", "hi", "xh"]
    assert found.main is not None and found.main.lang == "pt"
