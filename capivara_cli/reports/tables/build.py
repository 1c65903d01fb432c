"""Rows of eval.json as tables to read: one per set and task, languages as groups of rows, a model a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from capivara_cli import languages

Row = dict[str, Any]

_METRICS = {
    "mean_recall": "mean recall",
    "accuracy": "accuracy",
    "mean-per-class": "mean per class",
    "map-11-point": "11-point mAP",
    "roc-auc": "ROC AUC",
}
_WAYS = {"text_to_image": "T→I", "image_to_text": "I→T"}
_LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """What a cell shows; ``strong``: the best of its group, where it is significantly better."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """``groups`` are (language, rows), the language "" where there is none; the first column holds the models."""

    title: str
    caption: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]
    notes: tuple[str, ...] = ()


def tables(found: dict[str, list[Row]]) -> list[Table]:
    """Retrieval by set, classification by set and way, disparity by set and score; keys that old rows lack are no
    error."""
    return [
        *(_retrieval(rows) for rows in _grouped(found.get("retrieval", []), "set", "split", "prompt")),
        *(_classification(rows) for rows in _grouped(found.get("classification", []), "set", "split", "mode")),
        *(_disparity(rows) for rows in _grouped(found.get("disparity", []), "set", "split", "score")),
    ]


def metric_name(metric: str) -> str:
    """What people call a metric of eval.json."""
    return _METRICS.get(metric, metric)


def place(row: Row) -> str:
    """The set, with its split."""
    return f"{row['set']} ({row['split']})" if row.get("split") else row["set"]


def probability(row: Row) -> float | None:
    """p of the difference to the first model, adjusted for the number of comparisons where that is known."""
    versus = row.get("versus") or {}
    return versus.get("p_holm", versus.get("p"))


def _grouped(rows: Iterable[Row], *keys: str) -> list[list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return list(groups.values())


def _retrieval(rows: list[Row]) -> Table:
    recalls = [
        (f"{short} {key}", way, key) for way, short in _WAYS.items() for key in rows[0][way] if key.startswith("R@")
    ]
    compared = _first_model(rows)
    header = ["model", *(name for name, _, _ in recalls), "mean recall", "95 %", *_versus_header(compared)]
    sizes = f"{_count(rows, 'n_images', 'images')}, {_count(rows, 'n_captions', 'captions')}"
    prompt = f", each caption as in “{rows[0]['prompt']}”" if rows[0].get("prompt") else ""
    caption = f"Retrieval on {place(rows[0])}, {sizes}{prompt}: recall in percent, T→I from text to image, I→T from "
    caption += f"image to text. {_explained('mean recall', compared)}"

    def cells(row: Row) -> list[str]:
        return [_number(row[way].get(key)) for _, way, key in recalls]

    return Table(
        f"{place(rows[0])}: retrieval",
        caption.rstrip(),
        tuple(header),
        _groups(rows, "mean_recall", cells, compared),
        tuple(_marks(rows, "captions", _captions_by(rows)) + _uncaptioned(rows) + _variants(rows)),
    )


def _classification(rows: list[Row]) -> Table:
    metric = rows[0].get("metric", "accuracy")
    more = [("top-1", "top1")] if metric != "accuracy" else []
    columns = [(name, key) for name, key in [*more, ("top-5", "top5")] if any(row.get(key) is not None for row in rows)]
    compared = _first_model(rows)
    name = metric_name(metric)
    mode = rows[0].get("mode") or "zero-shot"
    sizes = f"{_count(rows, 'n_images', 'images')}, {_count(rows, 'n_classes', 'classes')}"
    names = dict.fromkeys(row["names_by"] for row in rows if row.get("names_by"))
    by = f" Class names by {', '.join(names)}." if names else ""
    caption = (
        f"Classification ({mode}) on {place(rows[0])}, {sizes}: {name} in percent. {_explained(name, compared)}{by}"
    )

    def cells(row: Row) -> list[str]:
        return [_number(row.get(key)) for _, key in columns]

    return Table(
        f"{place(rows[0])}: classification, {mode}",
        caption.rstrip(),
        ("model", *(name for name, _ in columns), name, "95 %", *_versus_header(compared)),
        _groups([{"score": row.get("top1"), **row} for row in rows], "score", cells, compared),
        tuple(_marks(rows, "names or templates", ", ".join(names))),
    )


def _disparity(rows: list[Row]) -> Table:
    name = metric_name(rows[0].get("score", "mean_recall"))
    spoken = dict.fromkeys(lang for row in rows for lang in row["languages"])
    body = tuple(
        tuple(Cell(text) for text in (row["model"], *(_number(row.get(key)) for key in ("mean", "range", "std")),
                                      row.get("worst", "—"), _number(_gap(row))))
        for row in rows
    )  # fmt: skip
    return Table(
        f"{place(rows[0])}: disparity of {name}",
        f"Disparity on {place(rows[0])} between {', '.join(spoken)}: {name} in percent, its spread in points.",
        ("model", "mean", "range", "std", "worst", "gap to English"),
        (("", body),),
    )


def _gap(row: Row) -> float | None:
    """English minus the worst language, which may be English itself."""
    gaps = row.get("gap_to_english")
    return gaps.get(row.get("worst"), 0.0) if gaps else None


def _groups(
    rows: Sequence[Row], score: str, cells: Callable[[Row], list[str]], compared: str
) -> tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]:
    found = []
    for group in _grouped(rows, "lang"):
        best = _best(group, score)
        lines = []
        for row in group:
            line = [Cell(row["model"] + "†" * bool(row.get("queries_by"))), *map(Cell, cells(row))]
            line += [Cell(_number(row[score]), row is best), Cell(_interval(row.get("interval")))]
            lines.append((*line, *([Cell(_difference(row))] if compared else [])))
        found.append((_language(group[0]), tuple(lines)))
    return tuple(found)


def _language(row: Row) -> str:
    code = row.get("lang", "")
    if not code:
        return ""
    name = f"{languages.get(code).name} ({code})" if languages.knows(code) else code
    return name + " (MT)" * bool(row.get("machine_translated"))


def _best(group: Sequence[Row], score: str) -> Row | None:
    """The row with the highest score, where it is significantly better than the first model, or, if it is that of the
    first model, than every other; else None."""
    best = max(group, key=lambda row: row[score])
    tried = [best] if best.get("versus") else [row for row in group if row is not best]
    sure = all((p := probability(row)) is not None and p < _LEVEL for row in tried)
    return best if tried and sure and all(row[score] < best[score] for row in group if row is not best) else None


def _first_model(rows: Sequence[Row]) -> str:
    """The model that others are compared with, "" where none is."""
    return next((row["versus"]["model"] for row in rows if row.get("versus")), "")


def _versus_header(compared: str) -> list[str]:
    return [f"vs {compared}"] if compared else []


def _explained(score: str, compared: str) -> str:
    text = f"95 %: bootstrap interval of the {score}."
    if compared:
        text += (
            f" vs {compared}: difference in points, * p < 0.05, ** p < 0.01 (paired, Holm-adjusted). Bold: the best, "
            f"where it differs significantly from {compared}."
        )
    return text


def _count(rows: Sequence[Row], key: str, what: str) -> str:
    counts = {row[key] for row in rows if row.get(key) is not None}
    if not counts:
        return f"? {what}"
    low, high = min(counts), max(counts)
    return f"{low:,} {what}" if low == high else f"{low:,} to {high:,} {what}"


def _captions_by(rows: Sequence[Row]) -> str:
    known = [(row.get("provenance") or {}).get("captions_by") or {} for row in rows if row.get("machine_translated")]
    return ", ".join(dict.fromkeys(who for each in known for who in each))


def _marks(rows: Sequence[Row], what: str, by: str) -> list[str]:
    """What (MT) and † mean, where they occur."""
    notes = []
    if any(row.get("machine_translated") for row in rows):
        notes.append(f"(MT): {what} machine-translated" + (f" ({by})" if by else ""))
    asked = dict.fromkeys(row["queries_by"] for row in rows if row.get("queries_by"))
    return [*notes, *([f"†: queries machine-translated first ({', '.join(asked)})"] if asked else [])]


def _uncaptioned(rows: Sequence[Row]) -> list[str]:
    counts = dict.fromkeys((row["lang"], row["n_uncaptioned"]) for row in rows if row.get("n_uncaptioned"))
    return [f"{lang}: {count:,} images have no caption, a miss each in I→T" for lang, count in counts]


def _variants(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row['lang']}, {row['model']}, {name}: mean recall {other['mean_recall']:.1f}"
        for row in rows
        for name, other in (row.get("variants") or {}).items()
    ]


def _interval(interval: Sequence[float] | None) -> str:
    return "—" if interval is None else f"{interval[0]:.1f}–{interval[1]:.1f}"


def _difference(row: Row) -> str:
    if not row.get("versus"):
        return "—"
    p = probability(row)
    stars = "" if p is None else "*" * ((p < _LEVEL) + (p < 0.01))
    return f"{row['versus']['difference']:+.1f}{stars}"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"
