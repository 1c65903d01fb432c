"""Results as files: all numbers as CSV, tables as LaTeX (booktabs) or Markdown, by the extension of the file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from capivara_cli.errors import UsageError
from capivara_cli.evaluation.metric_names import DIRECTIONS, of_metric
from capivara_cli.evaluation.results import (
    AnyRow,
    ClassificationRow,
    DisparityRow,
    EvalResults,
    RecallVariant,
    RetrievalRow,
)
from capivara_cli.reports import markdown
from capivara_cli.reports.tables.build import tables
from capivara_cli.reports.tables.table import Cell, Table
from capivara_cli.storage.files import replace_text

CsvLine = Mapping[str, object]
"""A line of the CSV file by column."""
_NUMBER = ("task", "set", "split", "lang", "model", "mode", "metric", "variant", "value", "low", "high")
_VERSUS = ("versus", "difference", "difference_low", "difference_high", "p", "p_holm")
_ABOUT = ("n_images", "n_captions", "n_uncaptioned", "n_classes", "n_templates", "machine_translated", "synthetic",
          "queries_by", "prompt", "names_by", "templates_by")  # fmt: skip
_ORIGIN = ("source", "licence", "by")
_CLASSIFIED = ("top1", "top5", "mean_per_class", "map_11_point", "average_precision", "roc_auc")


def check(path: Path) -> None:
    """Raise ``UsageError`` for a file whose extension is not one of a known format."""
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"--table {path}: the extension must be one of {', '.join(_FORMATS)}",
            f"such as {path.stem or 'results'}.csv",
        )


def write(path: Path, results: EvalResults) -> None:
    """Write results to a file, all or nothing, in the format of its extension."""
    check(path)
    replace_text(path, _FORMATS[path.suffix.lower()](results))


# --- CSV ---
def _csv(results: EvalResults) -> str:
    """One line per number, with all computed digits."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [*_NUMBER, *_VERSUS, *_ABOUT, *_ORIGIN], lineterminator="\n")
    writer.writeheader()
    for retrieval in results.retrieval:
        writer.writerows(_lines("retrieval", retrieval, _retrieval_lines(retrieval)))
    for classification in results.classification:
        writer.writerows(_lines("classification", classification, _classification_lines(classification)))
    for disparity in results.disparity:
        writer.writerows(_lines("disparity", disparity, _disparity_lines(disparity)))
    return out.getvalue()


def _lines(task: str, row: AnyRow, numbers: Iterable[CsvLine]) -> Iterator[CsvLine]:
    """The lines of a row: each of its ``numbers`` with the description of the row; missing columns stay empty."""
    about = {key: getattr(row, key, None) for key in ("set", "split", "lang", "model", "mode", *_ABOUT)}
    provenance = getattr(row, "provenance", None)
    origin = {key: getattr(provenance, key, None) for key in _ORIGIN}
    yield from ({"task": task, **about, **origin, **each} for each in numbers)


def _retrieval_lines(row: RetrievalRow) -> Iterator[CsvLine]:
    yield {"metric": row.metric, "value": row.mean_recall, **_certainty(row)}
    yield from _recalls(row)
    for way, rank in row.median_rank.items():
        yield {"metric": f"median_rank {way}", "value": rank}
    for name, other in row.variants.items():
        about = {"variant": name, "n_captions": other.n_captions}
        yield {"metric": row.metric, "value": other.mean_recall, **about}
        yield from ({**line, **about} for line in _recalls(other))


def _recalls(row: RetrievalRow | RecallVariant) -> Iterator[CsvLine]:
    for way in DIRECTIONS:
        for key, value in getattr(row, way).items():
            yield {"metric": f"{way} {key}", "value": value}


def _classification_lines(row: ClassificationRow) -> Iterator[CsvLine]:
    yield {"metric": row.metric, "value": row.score, **_certainty(row)}
    for key in _CLASSIFIED:
        if getattr(row, key) is not None and key != of_metric(row.metric).field:
            yield {"metric": key, "value": getattr(row, key)}


def _disparity_lines(row: DisparityRow) -> Iterator[CsvLine]:
    for key in ("mean", "range", "std"):
        yield {"metric": f"{row.metric} {key}", "value": getattr(row, key)}
    for lang, gap in (row.gap_to_english or {}).items():
        yield {"metric": f"{row.metric} gap_to_english", "lang": lang, "value": gap}


def _certainty(row: RetrievalRow | ClassificationRow) -> CsvLine:
    """The interval of a score, and its difference from the first model."""
    low, high = row.interval or (None, None)
    found: dict[str, object] = {"low": low, "high": high}
    if versus := row.versus:
        below, above = versus.interval or (None, None)
        found |= {"versus": versus.model, "difference": versus.difference, "difference_low": below}
        found |= {"difference_high": above, "p": versus.p, "p_holm": versus.p_holm}
    return found


# --- Markdown ---
def as_markdown(results: EvalResults, level: int = 2) -> str:
    """The tables with titles, captions and notes; ``level``: the level of the headings."""
    return "\n".join(_markdown_table(each, level) for each in tables(results))


def _markdown_table(table: Table, level: int) -> str:
    by_language = any(group.heading for group in table.groups)
    header = ["language"] * by_language + [each.name for each in table.columns]
    right = [False] * by_language + [each.numeric for each in table.columns]
    rows = [
        [*[markdown.escaped(group.heading or "—")] * by_language, *map(_markdown_cell, row)]
        for group in table.groups
        for row in group.rows
    ]
    notes = "".join(f"- {markdown.escaped(note)}\n" for note in table.notes)
    body = markdown.table([markdown.escaped(name) for name in header], right, rows)
    parts = [f"{'#' * level} {markdown.escaped(table.title)}", body, markdown.escaped(table.caption)]
    return "\n\n".join([*parts, *([notes] if notes else [])]).rstrip() + "\n"


def _markdown_cell(cell: Cell) -> str:
    return f"**{markdown.escaped(cell.text)}**" if cell.strong else markdown.escaped(cell.text)


# --- LaTeX ---
def _latex(results: EvalResults) -> str:
    return "% \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, tables(results)))


def _latex_table(table: Table) -> str:
    alignment = "".join("r" if each.numeric else "l" for each in table.columns)
    lines = ["\\toprule", " & ".join(latex(each.name) for each in table.columns) + " \\\\"]
    for number, group in enumerate(table.groups):
        lines.append("\\addlinespace" if number else "\\midrule")
        if group.heading:
            lines.append(f"\\multicolumn{{{len(alignment)}}}{{l}}{{\\emph{{{latex(group.heading)}}}}} \\\\")
        lines += [" & ".join(map(_latex_cell, row)) + " \\\\" for row in group.rows]
    label = re.sub("[^a-z0-9]+", "-", table.title.lower()).strip("-")
    caption = " ".join([table.caption, *(f"{note}." for note in table.notes)])
    body = "\n".join(f"    {line}" for line in [*lines, "\\bottomrule"])
    return (
        f"\\begin{{table}}[t]\n  \\centering\n  \\caption{{{latex(caption)}}}\n  \\label{{tab:{label}}}\n"
        f"  \\begin{{tabular}}{{{alignment}}}\n{body}\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    if cell.text.startswith("-"):
        text = f"$-${text[1:]}"
    return f"\\textbf{{{text}}}" if cell.strong else text


_LATEX = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "\\textbar{}",
    "→": "$\\to$", "–": "--", "—": "---", "−": "$-$", "†": "$^\\dagger$", "“": "``", "”": "''",
}  # fmt: skip


def latex(text: str) -> str:
    """The text in one line, escaped for LaTeX."""
    return "".join(_LATEX.get(char, char) for char in markdown.flat(text))


_FORMATS = {".csv": _csv, ".tex": _latex, ".md": as_markdown}
