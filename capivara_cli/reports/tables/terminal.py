"""Results for people, as tables in percent, and on disk, as the ``eval.json`` of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.compare import PARTS
from capivara_cli.evaluation.measure import Row
from capivara_cli.storage.files import replace_text

FILE = "eval.json"

_SCORES = {"mean_recall": "mean recall"}
_METRICS = {"accuracy": "top-1", "mean-per-class": "per class", "map-11-point": "11-pt mAP", "roc-auc": "ROC AUC"}


def tables(found: dict[str, list[Row]]) -> str:
    """One table per task over all sets; with several models, each one's difference in points to the first."""
    made = [
        ("retrieval, recall in percent (T→I: text to image)", _retrieval(found["retrieval"])),
        ("classification, in percent", _classification(found["classification"])),
        ("disparity between languages, in points", _disparity(found["disparity"])),
    ]
    return "\n\n".join(f"{title}\n{text}" for title, text in made if text)


def _retrieval(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    flat = [
        {
            **row,
            **{f"T→I {key}": value for key, value in row["text_to_image"].items() if key != "mean"},
            **{f"I→T {key}": value for key, value in row["image_to_text"].items() if key != "mean"},
        }
        for row in rows
    ]
    columns = {name: name for name in flat[0] if name.startswith(("T→I", "I→T"))}
    sizes = {row["set"]: (row["n_images"], row["n_captions"]) for row in reversed(rows)}
    about = "; ".join(
        f"{name}: {images:,} images, {captions:,} captions" for name, (images, captions) in reversed(sizes.items())
    )
    return "\n".join([_table(flat, {**columns, "mean recall": "mean_recall"}, "mean_recall"), about, *_footnotes(rows)])


def _classification(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    body = [{**row, "by": _METRICS[row["metric"]] + _of_mode(row)} for row in rows]
    columns = {"metric": "by", "score": "score", "top-1": "top1", "top-5": "top5"}
    sizes = dict.fromkeys(
        f"{row['set']}: {row['n_images']:,} images, {row['n_classes']} classes" for row in rows if "n_classes" in row
    )
    return "\n".join([_table(body, columns, "score"), "; ".join(sizes), *_averages(rows), *_class_footnotes(rows)])


def _of_mode(row: Row) -> str:
    return "" if row["mode"] == "zero-shot" else f", {row['mode']}"


def _averages(rows: Sequence[Row]) -> list[str]:
    """The mean score over the sets, where there are several: what the papers' tables end with."""
    lines = []
    groups = dict.fromkeys((row["mode"], row["lang"], row["model"]) for row in rows)
    for mode, lang, model in groups:
        own = [row["score"] for row in rows if (row["mode"], row["lang"], row["model"]) == (mode, lang, model)]
        if len(own) > 1:
            lines.append(f"mean over {len(own)} sets, {lang or mode}, {model}: {sum(own) / len(own):.2f}")
    return lines


def _disparity(rows: Sequence[Row]) -> str:
    columns = {"mean": "mean", "range": "range", "std": "std"}
    several = len({row["set"] for row in rows}) > 1
    header = [*["set"] * several, "model", "of", *columns, "worst", "gap to en", "languages"]
    body = [
        [
            *[row["set"]] * several,
            row["model"],
            _SCORES.get(row["score"]) or _METRICS[row["score"]],
            *(_number(row[key]) for key in columns.values()),
            row["worst"],
            _gap(row),
            _few(row["languages"]),
        ]
        for row in rows
    ]
    return console.table(body, header) if rows else ""


def _few(names: Sequence[str], most: int = 12) -> str:
    return " ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _gap(row: Row) -> str:
    """English minus the worst language."""
    gaps = row["gap_to_english"]
    return "—" if not gaps else _number(gaps.get(row["worst"], 0.0))


def _table(rows: Sequence[Row], columns: dict[str, str], score: str) -> str:
    """Rows ordered by set, language, model; then the interval of ``score``, and the difference to the first model."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    sets = list(dict.fromkeys(row["set"] for row in rows))
    several, compared = len(sets) > 1, any(row["versus"] for row in rows)
    body = []
    for row in sorted(rows, key=lambda row: sets.index(row["set"])):
        marks = " (MT)" * bool(row.get("machine_translated")) + "†" * bool(row.get("queries_by"))
        cells = [*[row["set"]] * several, (row["lang"] or "—") + marks, row["model"]]
        cells += [each if isinstance(each := row[key], str) else _number(each) for key in columns.values()]
        cells.append(_interval(row["interval"]))
        if compared:
            cells.append(_difference(row["versus"]))
        body.append(cells)
    header = [*["set"] * several, "lang", "model", *columns, "95 %", *["vs first"] * compared]
    text = console.table(body, header)
    if compared:
        text += f"\nvs first: points more than {models[0]}; * p < 0.05, ** p < 0.01 (paired, Holm-adjusted)"
    return text


def _interval(interval: Sequence[float] | None) -> str:
    return "—" if interval is None else f"{interval[0]:.1f}–{interval[1]:.1f}"


def _difference(versus: Row | None) -> str:
    return "" if versus is None else f"{versus['difference']:+.1f}{stars(versus['p_holm'])}"


def stars(p: float) -> str:
    """No mark, one for p < 0.05, two for p < 0.01."""
    return "*" * ((p < 0.05) + (p < 0.01))


def _footnotes(rows: Sequence[Row]) -> list[str]:
    lines = []
    by = {who: None for row in rows if row["machine_translated"] for who in row["provenance"]["captions_by"]}
    if by:
        lines.append(f"(MT) captions machine-translated ({', '.join(by)})")
    lines += _asked(rows)
    for row in _of_first(rows):
        if row["n_uncaptioned"]:
            lines.append(f"{row['lang']}: {row['n_uncaptioned']} images have no caption: a miss each in I→T")
    for row in rows:
        for name, other in row["variants"].items():
            lines.append(f"{row['set']} {row['lang']} {row['model']}, {name}: mean recall {other['mean_recall']:.2f} "
                         f"of {other['n_captions']:,} captions")  # fmt: skip
    return lines


def _class_footnotes(rows: Sequence[Row]) -> list[str]:
    by = dict.fromkeys(
        who for row in rows if row.get("machine_translated") for who in (row["names_by"], row["templates_by"]) if who
    )
    named = dict.fromkeys(f"{row['set']}: {row['names_by']}" for row in rows if "paper" in (row.get("names_by") or ""))
    lines = [f"(MT) names or templates machine-translated ({', '.join(by)})"] if by else []
    return lines + _asked(rows) + [f"class names of {name}" for name in named]


def _asked(rows: Iterable[Row]) -> list[str]:
    asked = dict.fromkeys(row["queries_by"] for row in rows if row.get("queries_by"))
    return [f"† queries machine-translated first ({', '.join(asked)})"] if asked else []


def _of_first(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["model"] == rows[0]["model"]]


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"


def save(folder: Path, found: dict[str, list[Row]]) -> None:
    """Put results into a run's ``eval.json``, all or nothing; those of other sets, splits, languages, modes and models
    stay."""
    path = folder / FILE
    known = load(path)
    merged = {}
    for part in PARTS:
        fresh = {_place(row) for row in found[part]}
        merged[part] = [row for row in known[part] if _place(row) not in fresh] + found[part]
    replace_text(path, json.dumps(merged, ensure_ascii=False, indent=1) + "\n")


def _place(row: Row) -> tuple[Any, ...]:
    """What a row is of: a later one of the same takes its place."""
    of = ("set", "split", "model", "lang", "mode", "prompt", "queries_by")
    return (*(row.get(key) for key in of), row["score"] if "worst" in row else None)


def load(path: Path) -> dict[str, list[Row]]:
    """What was evaluated before; ``CapivaraError`` for a file that is damaged."""
    if not path.is_file():
        return {part: [] for part in PARTS}
    try:
        known: Any = json.loads(path.read_bytes())
        return {part: [row for row in known[part] if {"set", "split"} <= row.keys()] for part in PARTS}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CapivaraError(f"{path}: damaged, and not overwritten", "move it away and evaluate again") from error
