"""Results in the terminal: exact text, and what adapting changed."""

from __future__ import annotations

from support.eval_rows import against, documents, recalled, typed

from capivara_cli.evaluation.results import EvalResults
from capivara_cli.reports.tables import before_after, terminal
from capivara_cli.reports.tables.before_after import Change, SpreadChange

TABLES = """\
retrieval, recall in percent (T→I: text to image)
lang     model      T→I R@1  I→T R@1  mean recall       95 %  vs base
───────  ─────────  ───────  ───────  ───────────  ─────────  ───────
pt       base          23.3     23.3         33.3  31.3–35.6
pt       runs/pt_1     40.0     40.0         50.0  48.0–52.2  +16.7**
hi (MT)  base          10.0     10.0         20.0  18.0–22.2
hi (MT)  runs/pt_1     11.0     11.0         21.0  19.0–23.2     +1.0
vs base: difference from base in points; * p < 0.05, ** p < 0.01 (paired, Holm-adjusted)
flickr: 1,000 images, 5,000 captions
(MT) captions machine-translated (nllb:eng-hin)

classification, in percent
lang  model  metric  score  top-1  top-5       95 %
────  ─────  ──────  ─────  ─────  ─────  ─────────
pt†   base   top-1    40.5   40.5      —  38.0–43.0
dtd: 1,880 images, 47 classes
† queries machine-translated first (opus)

disparity between languages, in points
model  of           mean  range  std  worst  gap to en  languages
─────  ───────────  ────  ─────  ───  ─────  ─────────  ─────────
base   mean recall  30.0   10.0  5.0  pt          10.0  pt en"""

BEFORE_AFTER = """\
mean recall (R@1/5/10, both directions), percent
lang  set     baseline     adapted   gain
────  ──────  ────────  ──────────  ─────
pt ←  flickr      40.0  52.0 ± 2.8  +12.0
en    flickr      80.0  79.0 ± 1.4   -1.0

disparity between languages on flickr: range 40.0 → 27.0, std 20.0 → 13.5 points"""


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


def test_before_and_after_over_seeds() -> None:
    models = ("base", "runs/pt-seed1", "runs/pt-seed2")
    scores = {"pt": (40.0, 50.0, 54.0), "en": (80.0, 78.0, 80.0)}
    rows = [recalled(*each) for lang, own in scores.items() for each in zip(models, [lang] * 3, own, strict=True)]
    spread = documents()["disparity"][0]
    ranges = zip(models, (40.0, 28.0, 26.0), strict=True)
    results = typed(retrieval=rows, disparity=[{**spread, "model": m, "range": r, "std": r / 2} for m, r in ranges])
    assert before_after.changes(results) == [
        Change("flickr", "pt", 40.0, 52.0, 8**0.5, 12.0),
        Change("flickr", "en", 80.0, 79.0, 2**0.5, -1.0),
    ]
    assert before_after.spread_changes(results) == [SpreadChange("flickr", (40.0, 27.0), (20.0, 13.5))]
    assert before_after.text(results, "pt") == BEFORE_AFTER
    assert before_after.changes(typed(retrieval=rows[:1])) == []
