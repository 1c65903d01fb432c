"""Results in the terminal: exact text, and what adapting changed."""

from __future__ import annotations

import pytest
from support.eval_rows import Row, against, documents, recalled, typed

from capivara_cli.evaluation.results import EvalResults
from capivara_cli.reports.tables import before_after, terminal
from capivara_cli.reports.tables.before_after import Change, SpreadChange
from capivara_cli.reports.tables.table import doubtful_sets

TABLES = """\
retrieval, recall in percent (T→I: text to image)
lang     model      T→I R@1  I→T R@1  mean recall       95 %  vs base
─────────────────────────────────────────────────────────────────────
pt       base          23.3     23.3         33.3  31.3–35.6
pt       runs/pt_1     40.0     40.0         50.0  48.0–52.2  +16.7**
hi (MT)  base          10.0     10.0         20.0  18.0–22.2
hi (MT)  runs/pt_1     11.0     11.0         21.0  19.0–23.2     +1.0
vs base: difference from base in points; * p < 0.05, ** p < 0.01 (paired, Holm-adjusted)
flickr: 1,000 images, 5,000 captions
(MT) captions machine-translated (nllb:eng-hin)

classification, in percent
lang  model  metric  score  top-1  top-5       95 %
───────────────────────────────────────────────────
pt†   base   top-1    40.5   40.5      —  38.0–43.0
dtd: 1,880 images, 47 classes
† queries machine-translated first (opus)

disparity between languages, in points
model  of           mean  range  std  worst  gap to en  languages
─────────────────────────────────────────────────────────────────
base   mean recall  30.0   10.0  5.0  pt          10.0  pt en"""

BEFORE_AFTER = """\
mean recall (R@1/5/10, both directions), percent, on flickr
lang           images  baseline     adapted       95 %   gain            95 %
─────────────────────────────────────────────────────────────────────────────
pt ← (MT)       1,000      40.0  52.0 ± 2.8  50.0–54.2  +12.0   +9.0 to +13.5
pt ← (people)      30      35.0  47.0 ± 2.8  37.0–57.0  +12.0  +10.0 to +12.0
en              1,000      80.0  79.0 ± 1.4  77.0–81.2   -1.0               —

disparity between languages on flickr: range 40.0 → 27.0, std 20.0 → 13.5 points

95 %: where the value lies with other images of the same kind (bootstrap over images, mean over the runs)
(MT) captions machine-translated (argos:en-pt)
(people): only the captions that people wrote in this language, and the images that have one"""


def test_the_tables_are_exactly_this() -> None:
    assert terminal.tables(EvalResults()) == ""
    assert terminal.tables(typed(**documents())) == TABLES


def test_several_sets_are_one_table_with_a_column_for_them() -> None:
    other = [recalled("base", "pt", 10.0) | {"set": "coco"}, recalled("base", "pt", 60.0, queries_by="opus")]
    other += [recalled("new", "pt", 61.0, versus=against("base", 1.0, 0.04))]
    lines = terminal.tables(typed(retrieval=other)).splitlines()
    assert [line.split() for line in lines[1:2] + lines[3:6]] == [
        ["set", "lang", "model", "T→I", "R@1", "I→T", "R@1", "mean", "recall", "95", "%", "vs", "base"],
        ["coco", "pt", "base", "0.0", "0.0", "10.0", "8.0–12.2"],
        ["flickr", "pt†", "base", "50.0", "50.0", "60.0", "58.0–62.2"],
        ["flickr", "pt", "new", "51.0", "51.0", "61.0", "59.0–63.2", "+1.0*"],
    ]
    assert lines[7:] == [
        "coco: 1,000 images, 5,000 captions; flickr: 1,000 images, 5,000 captions",
        "† queries machine-translated first (opus)",
    ]


def seeds() -> list[Row]:
    """A baseline and two runs, in a language with captions by people and translations, and in English."""
    models, rows = ("base", "runs/pt-seed1", "runs/pt-seed2"), []
    bounds = [None, [8.0, 12.0], [10.0, 15.0]]
    for model, score, gain in zip(models, (40.0, 50.0, 54.0), bounds, strict=True):
        versus = None if gain is None else {**against("base", score - 40, 0.01), "interval": gain}
        own = {"n_captions": 30, "text_to_image": {}, "image_to_text": {}, "mean_recall": score - 5, "n_images": 30,
               "interval": [score - 15, score + 5]}  # fmt: skip
        people = own if gain is None else {**own, "versus": against("base", 11.0, 0.2)}
        rows.append(
            recalled(model, "pt", score, versus=versus, variants={"captions by people": people},
                     machine_translated=True, provenance={"captions_by": {"argos:en-pt": 9}})
        )  # fmt: skip
    return rows + [recalled(model, "en", score) for model, score in zip(models, (80.0, 78.0, 80.0), strict=True)]


def test_before_and_after_over_seeds() -> None:
    spread = documents()["disparity"][0]
    ranges = zip(("base", "runs/pt-seed1", "runs/pt-seed2"), (40.0, 28.0, 26.0), strict=True)
    results = typed(retrieval=seeds(), disparity=[{**spread, "model": m, "range": r, "std": r / 2} for m, r in ranges])
    assert before_after.changes(results) == [
        Change("flickr", "pt", 40.0, 52.0, 8**0.5, 12.0, False, True, False, 1000, (50.0, 54.25), (9.0, 13.5)),
        Change("flickr", "pt", 35.0, 47.0, 8**0.5, 12.0, False, False, True, 30, (37.0, 57.0), (10.0, 12.0)),
        Change("flickr", "en", 80.0, 79.0, 2**0.5, -1.0, False, False, False, 1000, (77.0, 81.25), None),
    ]
    assert before_after.spread_changes(results) == [SpreadChange("flickr", (40.0, 27.0), (20.0, 13.5))]
    assert before_after.text(results, "pt") == BEFORE_AFTER
    assert before_after.changes(typed(retrieval=seeds()[:1])) == []


@pytest.mark.parametrize(
    ("images", "interval", "says"),
    [
        (60, [30.0, 46.0], "few images (60): a score is known to ±8 points only; about 200 images would give ±5"),
        (400, [30.0, 42.0], "few images (400): a score is known to ±6 points only; about 600 images would give ±5"),
        (99, [100.0, 100.0], "few images (99): their scores and intervals say little about others"),
        (100, [40.0, 50.0], None),
        (None, [40.0, 90.0], None),  # unknown: a file of an older version
    ],
)
def test_few_images_are_worth_a_warning(images: int | None, interval: list[float], says: str | None) -> None:
    rows = typed(retrieval=[recalled("base", "pt", 40.0, n_images=images, interval=interval)]).retrieval
    assert doubtful_sets(rows) == ([] if says is None else [f"flickr: {says}"])


def test_a_set_is_warned_of_once_by_its_widest_interval() -> None:
    rows = [recalled("base", lang, 40.0, n_images=50, interval=[40.0, 40.0 + width]) for lang, width in
            (("pt", 12.0), ("hi", 20.0))]  # fmt: skip
    rows.append(recalled("base", "pt", 40.0) | {"set": "coco"})
    assert [line.partition(";")[0] for line in doubtful_sets(typed(retrieval=rows).scored)] == [
        "flickr: few images (50): a score is known to ±10 points only"
    ]
