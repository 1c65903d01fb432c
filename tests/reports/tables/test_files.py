"""Results as files: exact text, numbers that come back as they were, strange names made harmless."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.eval_rows import against, documents, recalled, results, typed

from capivara_cli.errors import UsageError
from capivara_cli.evaluation.results import EvalResults
from capivara_cli.reports.tables import files
from capivara_cli.reports.tables.build import tables

MARKDOWN = """\
## flickr (test): retrieval

| language | model | T→I R@1 | I→T R@1 | mean recall | 95 % | vs base |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
| Portuguese (pt) | base | 23.3 | 23.3 | 33.3 | 31.3–35.6 | — |
| Portuguese (pt) | runs/pt\\_1 | 40.0 | 40.0 | **50.0** | 48.0–52.2 | +16.7\\*\\* |
| Hindi (hi) (MT) | base | 10.0 | 10.0 | 20.0 | 18.0–22.2 | — |
| Hindi (hi) (MT) | runs/pt\\_1 | 11.0 | 11.0 | 21.0 | 19.0–23.2 | +1.0 |

Retrieval on flickr (test), 1,000 images, 5,000 captions: recall in percent, T→I from text to image, I→T from image to \
text. 95 %: bootstrap interval of the mean recall. vs base: difference in points, \\* p \\< 0.05, \\*\\* p \\< 0.01 \
(paired, Holm-adjusted). Bold: the best, where it differs significantly from base.

- (MT): captions machine-translated (nllb:eng-hin)

## dtd (test): classification, zero-shot

| language | model | accuracy | 95 % |
| --- | --- | ---: | ---: |
| Portuguese (pt) | base† | 40.5 | 38.0–43.0 |

Classification (zero-shot) on dtd (test), 1,880 images, 47 classes: accuracy in percent. 95 %: bootstrap interval of \
the accuracy. Class names by CAPIVARA.

- †: queries machine-translated first (opus)

## flickr (test): disparity of mean recall

| model | mean | range | std | worst | gap to English |
| --- | ---: | ---: | ---: | --- | ---: |
| base | 30.0 | 10.0 | 5.0 | pt | 10.0 |

Disparity on flickr (test) between pt, en: mean recall in percent, its spread in points.
"""

LATEX = r"""% \usepackage{booktabs}
\begin{table}[t]
  \centering
  \caption{Retrieval on flickr (test), 1,000 images, 5,000 captions: recall in percent, T$\to$I from text to image, I$\to$T from image to text. 95 \%: bootstrap interval of the mean recall. vs base: difference in points, * p $<$ 0.05, ** p $<$ 0.01 (paired, Holm-adjusted). Bold: the best, where it differs significantly from base. (MT): captions machine-translated (nllb:eng-hin).}
  \label{tab:flickr-test-retrieval}
  \begin{tabular}{lrrrrr}
    \toprule
    model & T$\to$I R@1 & I$\to$T R@1 & mean recall & 95 \% & vs base \\
    \midrule
    \multicolumn{6}{l}{\emph{Portuguese (pt)}} \\
    base & 23.3 & 23.3 & 33.3 & 31.3--35.6 & --- \\
    runs/pt\_1 & 40.0 & 40.0 & \textbf{50.0} & 48.0--52.2 & +16.7** \\
    \addlinespace
    \multicolumn{6}{l}{\emph{Hindi (hi) (MT)}} \\
    base & 10.0 & 10.0 & 20.0 & 18.0--22.2 & --- \\
    runs/pt\_1 & 11.0 & 11.0 & 21.0 & 19.0--23.2 & +1.0 \\
    \bottomrule
  \end{tabular}
\end{table}
"""  # noqa: E501 (LaTeX as it is written)


def test_markdown_is_exactly_this(tmp_path: Path) -> None:
    files.write(tmp_path / "t.md", results())
    assert (tmp_path / "t.md").read_text("utf-8") == MARKDOWN


def test_latex_is_exactly_this(tmp_path: Path) -> None:
    files.write(tmp_path / "t.tex", EvalResults(retrieval=results().retrieval))
    assert (tmp_path / "t.tex").read_text("utf-8") == LATEX


def test_csv_has_every_number_as_it_was(tmp_path: Path) -> None:
    found = documents()
    found["retrieval"][0]["variants"] = {
        "without junk": {"n_captions": 4990, "text_to_image": {"R@1": 1 / 7}, "image_to_text": {}, "mean_recall": 34.5}
    }
    files.write(tmp_path / "T.CSV", typed(**found))
    with open(tmp_path / "T.CSV", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))

    def line(**wanted: str) -> dict[str, str]:
        (only,) = [each for each in lines if all(each[key] == value for key, value in wanted.items())]
        return only

    base = line(task="retrieval", lang="pt", model="base", metric="mean_recall", variant="")
    assert float(base["value"]) == 100 / 3 and base["difference"] == base["versus"] == ""
    assert (float(base["low"]), float(base["high"])) == (100 / 3 - 2, 100 / 3 + 2.25)
    assert (base["n_images"], base["n_captions"], base["machine_translated"]) == ("1000", "5000", "False")
    junk = line(variant="without junk", metric="text_to_image R@1")
    assert float(junk["value"]) == 1 / 7 and junk["n_captions"] == "4990" and junk["low"] == ""
    run = line(lang="pt", model="runs/pt_1", metric="mean_recall")
    assert [float(run[key]) for key in ("difference", "difference_low", "difference_high", "p", "p_holm")] == [
        50 - 100 / 3, 50 - 100 / 3 - 1, 50 - 100 / 3 + 1, 0.002, 0.004,
    ]  # fmt: skip
    assert run["versus"] == "base"
    assert float(line(lang="hi", model="base", metric="median_rank image_to_text")["value"]) == 1.5
    assert line(lang="hi", model="base", metric="text_to_image mean")["machine_translated"] == "True"
    (classified,) = [each for each in lines if each["task"] == "classification"]  # top1 is the accuracy, top5 is none
    assert (classified["metric"], classified["value"], classified["mode"]) == ("accuracy", "40.5", "zero-shot")
    assert float(line(metric="mean_recall gap_to_english")["value"]) == 10.0
    assert line(metric="mean_recall gap_to_english")["lang"] == "pt"
    assert len(lines) == 4 * 7 + 2 + 1 + 4


def test_rows_of_older_files_do(tmp_path: Path) -> None:
    """No interval, no comparison, no provenance, no mode: as eval.json was before."""
    recalls = {"R@1": 1.0, "R@5": 2.0}
    old = {
        "retrieval": [{"set": "s", "split": "", "lang": "xx", "model": "m", "text_to_image": recalls,
                       "image_to_text": recalls, "mean_recall": 1.5}],
        "classification": [{"set": "s", "split": "test", "lang": "pt", "model": "m", "top1": 3.0, "top5": 9.0}],
    }  # fmt: skip
    for name in ("t.csv", "t.tex", "t.md"):
        files.write(tmp_path / name, typed(**old))
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "| xx | m | 1.0 | 2.0 | 1.0 | 2.0 | 1.5 | — |" in text and "? images" in text
    assert "| Portuguese (pt) | m | 9.0 | 3.0 | — |" in text
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        assert [each["value"] for each in csv.DictReader(file)] == ["1.5", "1.0", "2.0", "1.0", "2.0", "3.0", "9.0"]


@pytest.mark.parametrize(
    ("scores", "ps", "expected"),
    [
        ([10.0, 20.0, 21.0], [0.01, 0.03], "c"),
        ([10.0, 20.0, 21.0], [0.01, 0.06], None),
        ([30.0, 20.0, 21.0], [0.01, 0.03], "a"),
        ([30.0, 20.0, 21.0], [0.01, 0.06], None),
        ([10.0, 20.0, 20.0], [0.01, 0.01], None),
    ],
)
def test_bold_is_only_what_is_significantly_better(scores: list[float], ps: list[float], expected: str | None) -> None:
    first, *others = zip("abc", scores, strict=True)
    rows = [recalled(first[0], "pt", first[1])]
    rows += [
        recalled(name, "pt", score, versus=against("a", score - first[1], p))
        for (name, score), p in zip(others, ps, strict=True)
    ]
    (table,) = tables(typed(retrieval=rows))
    strong = [row[0].text for group in table.groups for row in group.rows if any(cell.strong for cell in row)]
    assert strong == ([expected] if expected else [])


def test_names_of_strangers_stay_text(tmp_path: Path) -> None:
    name = "a|b_<script>\n\\input{x} 50% $y$ [z](u) & `q`\x1b"
    row = recalled(name, "pt", 1.0)
    for suffix in (".md", ".tex"):
        files.write(tmp_path / f"t{suffix}", typed(retrieval=[row]))
    (line,) = [each for each in (tmp_path / "t.md").read_text("utf-8").splitlines() if "script" in each]
    assert "| a\\|b\\_\\<script\\> \\\\input{x} 50% \\$y\\$ \\[z\\](u) \\& \\`q\\`\\\\x1b |" in line
    text = (tmp_path / "t.tex").read_text("utf-8")
    shown = r"a\textbar{}b\_$<$script$>$ \textbackslash{}input\{x\} 50\% \$y\$ [z](u) \& `q`\textbackslash{}x1b"
    assert f"    {shown} & $-$9.0 & $-$9.0 & 1.0 & " in text


def test_another_extension_is_refused_and_a_failure_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"--table .*t.xlsx: the extension must be one of .csv, .tex, .md") as raised:
        files.write(tmp_path / "t.xlsx", results())
    assert raised.value.hint == "such as t.csv"
    (tmp_path / "t.md").write_text("before")

    def broken(row: object) -> str:
        raise KeyError("mean_recall")

    monkeypatch.setattr(files, "_markdown_cell", broken)
    with pytest.raises(KeyError):
        files.write(tmp_path / "t.md", results())
    assert [path.name for path in tmp_path.iterdir()] == ["t.md"] and (tmp_path / "t.md").read_text() == "before"


def test_the_gap_is_none_without_english_and_nothing_where_english_is_the_worst() -> None:
    head = {
        "set": "s",
        "split": "",
        "score": "mean_recall",
        "languages": ["pt", "en"],
        "mean": 1.0,
        "range": 1.0,
        "std": 1.0,
    }
    rows = [{**head, "model": "a", "worst": "en", "gap_to_english": {"pt": -1.0}},
            {**head, "model": "b", "worst": "pt", "gap_to_english": None}]  # fmt: skip
    (table,) = tables(typed(disparity=rows))
    assert [line[-1].text for line in table.groups[0].rows] == ["0.0", "—"]
