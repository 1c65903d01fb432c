"""Results as files for papers: every number as CSV, tables as LaTeX (booktabs) or Markdown, by the file's extension."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capivara_cli.errors import UsageError
from capivara_cli.reports import markdown
from capivara_cli.reports.tables.build import Cell, Row, Table, tables
from capivara_cli.storage.files import replace_text

_HEAD = ("task", "set", "split", "lang", "model", "mode", "metric", "variant", "value", "low", "high")
_VERSUS = ("versus", "difference", "difference_low", "difference_high", "p", "p_holm")
_ABOUT = ("n_images", "n_captions", "n_uncaptioned", "n_classes", "n_templates", "machine_translated", "queries_by",
          "prompt", "names_by", "templates_by")  # fmt: skip
_ORIGIN = ("source", "licence", "by")
_CLASSIFIED = {"top1": "accuracy", "top5": "", "mean_per_class": "mean-per-class", "map_11_point": "map-11-point",
               "average_precision": "", "roc_auc": "roc-auc"}  # fmt: skip


def check(path: Path) -> None:
    """Raise ``UsageError`` for a file that is none of those that can be written."""
    if path.suffix.lower() not in _FORMS:
        raise UsageError(f"--table {path}: written are {', '.join(_FORMS)}", f"such as {path.stem or 'results'}.csv")


def write(path: Path, found: dict[str, list[Row]]) -> None:
    """Write the rows of eval.json, all or nothing."""
    check(path)
    replace_text(path, _FORMS[path.suffix.lower()](found))


def _csv(found: dict[str, list[Row]]) -> str:
    """One line per number, as exact as it was computed."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [*_HEAD, *_VERSUS, *_ABOUT, *_ORIGIN], lineterminator="\n")
    writer.writeheader()
    for task, lines in _LINES.items():
        for row in found.get(task, []):
            about = {"task": task, **{key: row.get(key) for key in ("set", "split", "lang", "model", "mode", *_ABOUT)}}
            origin = {key: (row.get("provenance") or {}).get(key) for key in _ORIGIN}
            writer.writerows({**about, **origin, **line} for line in lines(row))
    return out.getvalue()


def _retrieval_lines(row: Row) -> Iterator[dict[str, Any]]:
    yield {"metric": "mean_recall", "value": row["mean_recall"], **_certainty(row)}
    yield from _recalls(row)
    for way, rank in (row.get("median_rank") or {}).items():
        yield {"metric": f"median_rank {way}", "value": rank}
    for variant, other in (row.get("variants") or {}).items():
        named = {"variant": variant, "n_captions": other.get("n_captions")}
        yield {"metric": "mean_recall", "value": other["mean_recall"], **named}
        yield from ({**line, **named} for line in _recalls(other))


def _recalls(row: Row) -> Iterator[dict[str, Any]]:
    for way in ("text_to_image", "image_to_text"):
        for key, value in row.get(way, {}).items():
            yield {"metric": f"{way} {key}", "value": value}


def _classification_lines(row: Row) -> Iterator[dict[str, Any]]:
    metric = row.get("metric", "accuracy")
    yield {"metric": metric, "value": row.get("score", row.get("top1")), **_certainty(row)}
    for key, same_as in _CLASSIFIED.items():
        if row.get(key) is not None and same_as != metric:
            yield {"metric": key, "value": row[key]}


def _disparity_lines(row: Row) -> Iterator[dict[str, Any]]:
    of = row.get("score", "mean_recall")
    for key in ("mean", "range", "std"):
        yield {"metric": f"{of} {key}", "value": row.get(key)}
    for lang, gap in (row.get("gap_to_english") or {}).items():
        yield {"metric": f"{of} gap_to_english", "lang": lang, "value": gap}


def _certainty(row: Row) -> dict[str, Any]:
    """The interval of a score, and its difference to the first model."""
    low, high = row.get("interval") or (None, None)
    versus = row.get("versus") or {}
    below, above = versus.get("interval") or (None, None)
    return {
        "low": low,
        "high": high,
        "versus": versus.get("model"),
        "difference": versus.get("difference"),
        "difference_low": below,
        "difference_high": above,
        "p": versus.get("p"),
        "p_holm": versus.get("p_holm"),
    }


_LINES = {"retrieval": _retrieval_lines, "classification": _classification_lines, "disparity": _disparity_lines}


def as_markdown(found: dict[str, list[Row]], level: int = 2) -> str:
    """The tables with their titles, captions and notes; ``level`` of the titles' headings."""
    return "\n".join(_markdown_table(each, level) for each in tables(found))


def _markdown_table(table: Table, level: int) -> str:
    spoken = any(lang for lang, _ in table.groups)
    header = [markdown.escaped(name) for name in ("language",) * spoken + table.header]
    right = [False] * spoken + _right(table)
    rows = [
        [*[markdown.escaped(lang or "—")] * spoken, *map(_markdown_cell, row)]
        for lang, rows in table.groups
        for row in rows
    ]
    notes = "".join(f"- {markdown.escaped(note)}\n" for note in table.notes)
    parts = [f"{'#' * level} {markdown.escaped(table.title)}", markdown.table(header, right, rows)]
    return "\n\n".join([*parts, markdown.escaped(table.caption), *([notes] if notes else [])]).rstrip() + "\n"


def _markdown_cell(cell: Cell) -> str:
    return f"**{markdown.escaped(cell.text)}**" if cell.strong else markdown.escaped(cell.text)


def _right(table: Table) -> list[bool]:
    """All columns are numbers but the models and a language's name."""
    return [name not in ("model", "worst") for name in table.header]


def _latex(found: dict[str, list[Row]]) -> str:
    return "% \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, tables(found)))


def _latex_table(table: Table) -> str:
    columns = "".join("r" if right else "l" for right in _right(table))
    lines = ["\\toprule", _latex_row(table.header)]
    for number, (lang, rows) in enumerate(table.groups):
        lines.append("\\addlinespace" if number else "\\midrule")
        if lang:
            lines.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{latex(lang)}}}}} \\\\")
        lines += [" & ".join(map(_latex_cell, row)) + " \\\\" for row in rows]
    label = re.sub("[^a-z0-9]+", "-", table.title.lower()).strip("-")
    caption = " ".join([table.caption, *(f"{note}." for note in table.notes)])
    body = "\n".join(f"    {line}" for line in [*lines, "\\bottomrule"])
    return (
        f"\\begin{{table}}[t]\n  \\centering\n  \\caption{{{latex(caption)}}}\n  \\label{{tab:{label}}}\n"
        f"  \\begin{{tabular}}{{{columns}}}\n{body}\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_row(cells: tuple[str, ...]) -> str:
    return " & ".join(map(latex, cells)) + " \\\\"


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
    """Text that LaTeX sets as it is."""
    return "".join(_LATEX.get(char, char) for char in markdown.flat(text))


_FORMS = {".csv": _csv, ".tex": _latex, ".md": as_markdown}
