"""The headline in words: a gain, a loss, nothing significant, or not tested; with several seeds, for how many."""

from __future__ import annotations

import pytest
from support.eval_rows import against, recalled, typed

from capivara_cli.reports.page.findings import Outcome
from capivara_cli.reports.page.formats import points
from capivara_cli.reports.page.gains import verdict


@pytest.mark.parametrize(
    ("tests", "says", "cell"),
    [
        ([(20.0, 0.001)], "Significant gain", ("+20.0*", "up")),
        ([(-10.0, 0.001)], "Significant loss", ("−10.0*", "down")),
        ([(0.1, 0.42)], "No significant difference", ("+0.1 n.s.", "same")),
        ([(20.0, 0.05)], "No significant difference", ("+20.0 n.s.", "same")),
        ([(5.0, None)], "Not tested for significance", ("+5.0", "same")),
        ([(0.0, 0.001)], "No significant difference", ("0.0 n.s.", "same")),
        ([(20.0, 0.001), (24.0, 0.02)], "Significant gain", ("+22.0*", "up")),
        ([(20.0, 0.2), (24.0, 0.3)], "No significant difference", ("+22.0 n.s.", "same")),
        ([(20.0, 0.001), (24.0, 0.3)], "Significant for 1 of 2 seeds only", ("+22.0 n.s.", "same")),
        ([(20.0, 0.001), (-4.0, 0.001)], "Significant for 1 of 2 seeds only", ("+8.0 n.s.", "same")),  # one is a loss
        ([(20.0, 0.001), (24.0, None)], "Not tested for significance", ("+22.0", "same")),
    ],
)
def test_words_say_what_a_difference_is_worth(
    tests: list[tuple[float, float | None]], says: str, cell: tuple[str, str]
) -> None:
    rows = [recalled("base", "pt", 40.0)]
    for seed, (difference, p) in enumerate(tests):
        versus = None if p is None else against("base", difference, p)
        rows.append(recalled(f"runs/pt-seed{seed}", "pt", 40.0 + difference, versus=versus))
    found = typed(retrieval=rows).retrieval
    outcome = Outcome("retrieval", found, found[0], found[1:])
    assert verdict(outcome) == says
    shown = points(outcome.gain, outcome.significant)
    assert (shown.text, shown.tone) == cell
