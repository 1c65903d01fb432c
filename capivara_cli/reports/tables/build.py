"""Tables of an evaluation for files: one per set and task, with a row for each model in each language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from capivara_cli import languages
from capivara_cli.evaluation.metric_names import ARROWS, of_metric
from capivara_cli.evaluation.results import (
    MEAN_RECALL,
    ClassificationRow,
    DisparityRow,
    EvalResults,
    RetrievalRow,
    ScoredRow,
)
from capivara_cli.reports.tables.table import (
    LEVEL,
    Cell,
    Group,
    Table,
    cells,
    columns,
    difference,
    first_model,
    interval,
    number,
    queries_translated_by,
    set_label,
    synthetic_note,
)

_Row = TypeVar("_Row")
_Scored = TypeVar("_Scored", bound=ScoredRow)
_TEXTS = ("model", "worst")
"""The columns without numbers."""


def tables(results: EvalResults) -> list[Table]:
    """Retrieval for each set and prompt, classification for each set and mode, disparity for each set and metric."""
    return [
        *map(_retrieval, _grouped(results.retrieval, lambda row: (row.set, row.split, row.prompt))),
        *map(_classification, _grouped(results.classification, lambda row: (row.set, row.split, row.mode))),
        *map(_disparity, _grouped(results.disparity, lambda row: (row.set, row.split, row.metric))),
    ]


def _grouped(rows: Iterable[_Row], key: Callable[[_Row], object]) -> list[list[_Row]]:
    groups: dict[object, list[_Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _retrieval(rows: list[RetrievalRow]) -> Table:
    first = rows[0]
    directions = {"text_to_image": first.text_to_image, "image_to_text": first.image_to_text}
    recalls = [(way, key) for way, found in directions.items() for key in found if key.startswith("R@")]
    compared = first_model(rows)
    name = of_metric(MEAN_RECALL).name
    sizes = f"{_images(rows)}, {_count((row.n_captions for row in rows), 'captions')}"
    prompt = f", each caption in the prompt “{first.prompt}”" if first.prompt else ""
    caption = f"Retrieval on {set_label(first)}, {sizes}{prompt}: recall in percent, T→I from text to image, I→T from "
    caption += f"image to text. {_explained(name, compared)}"

    def numbers(row: RetrievalRow) -> list[str]:
        return [number(getattr(row, way).get(key)) for way, key in recalls]

    headings = ["model", *(f"{ARROWS[way]} {key}" for way, key in recalls), name, "95 %", *_versus_heading(compared)]
    by = ", ".join(dict.fromkeys(who for row in rows for who in _translators(row)))
    return Table(
        f"{set_label(first)}: retrieval",
        columns(headings, _TEXTS),
        _groups(rows, numbers, compared),
        caption.rstrip(),
        (*_marks(rows, "captions", by), *_uncaptioned(rows), *_variants(rows)),
    )


def _classification(rows: list[ClassificationRow]) -> Table:
    first = rows[0]
    shown = [("top-1", "top1")] if first.metric != "accuracy" else []
    shown = [each for each in (*shown, ("top-5", "top5")) if any(getattr(row, each[1]) is not None for row in rows)]
    compared = first_model(rows)
    name = of_metric(first.metric).name
    sizes = f"{_images(rows)}, {_count((row.n_classes for row in rows), 'classes')}"
    authors = ", ".join(dict.fromkeys(row.names_by for row in rows if row.names_by))
    by = f" Class names by {authors}." if authors else ""
    about = f"Classification ({first.mode}) on {set_label(first)}, {sizes}: {name} in percent."

    def numbers(row: ClassificationRow) -> list[str]:
        return [number(getattr(row, key)) for _, key in shown]

    headings = ["model", *(heading for heading, _ in shown), name, "95 %", *_versus_heading(compared)]
    return Table(
        f"{set_label(first)}: classification, {first.mode}",
        columns(headings, _TEXTS),
        _groups(rows, numbers, compared),
        f"{about} {_explained(name, compared)}{by}".rstrip(),
        tuple(_marks(rows, "names or templates", authors)),
    )


def _disparity(rows: list[DisparityRow]) -> Table:
    name = of_metric(rows[0].metric).name
    spoken = ", ".join(dict.fromkeys(lang for row in rows for lang in row.languages))
    body = tuple(
        cells([row.model, *map(number, (row.mean, row.range, row.std)), row.worst or "—", number(row.gap_of_worst)])
        for row in rows
    )
    return Table(
        f"{set_label(rows[0])}: disparity of {name}",
        columns(["model", "mean", "range", "std", "worst", "gap to English"], _TEXTS),
        (Group("", body),),
        f"Disparity on {set_label(rows[0])} between {spoken}: {name} in percent, its spread in points.",
    )


def _groups(rows: Sequence[_Scored], numbers: Callable[[_Scored], list[str]], compared: str) -> tuple[Group, ...]:
    """The rows of each language: model, numbers, score, interval, and the difference to the first model."""
    found = []
    for group in _grouped(rows, lambda row: row.lang):
        best = _best(group)
        lines = []
        for row in group:
            line = cells([row.model + "†" * bool(row.queries_by), *numbers(row)])
            line += (Cell(number(row.score), row is best), Cell(interval(row.interval)))
            lines.append(line + cells([difference(row.versus)] if compared else []))
        found.append(Group(_language(group[0]), tuple(lines)))
    return tuple(found)


def _language(row: ScoredRow) -> str:
    if not row.lang:
        return ""
    name = f"{languages.get(row.lang).name} ({row.lang})" if languages.knows(row.lang) else row.lang
    return name + " (MT)" * row.machine_translated + " (synthetic)" * row.synthetic


def _best(group: Sequence[ScoredRow]) -> ScoredRow | None:
    """The row with the highest score, if it is significantly better; otherwise None.

    It has to be better than the first model. If it is the first model, it has to be better than every other.
    """
    best = max(group, key=lambda row: row.score)
    others = [row for row in group if row is not best]
    tested = [best] if best.versus else others
    probabilities = [row.versus.probability if row.versus else None for row in tested]
    significant = bool(tested) and all(p is not None and p < LEVEL for p in probabilities)
    return best if significant and all(row.score < best.score for row in others) else None


def _versus_heading(compared: str) -> list[str]:
    return [f"vs {compared}"] if compared else []


def _explained(score: str, compared: str) -> str:
    text = f"95 %: bootstrap interval of the {score}."
    if compared:
        text += (
            f" vs {compared}: difference in points, * p < 0.05, ** p < 0.01 (paired, Holm-adjusted). Bold: the best, "
            f"where it differs significantly from {compared}."
        )
    return text


def _images(rows: Sequence[ScoredRow]) -> str:
    return _count((row.n_images for row in rows), "images")


def _count(counts: Iterable[int | None], what: str) -> str:
    known = {count for count in counts if count is not None}
    if not known:
        return f"? {what}"
    low, high = min(known), max(known)
    return f"{low:,} {what}" if low == high else f"{low:,} to {high:,} {what}"


def _translators(row: RetrievalRow) -> Iterable[str]:
    return (row.provenance.captions_by if row.machine_translated and row.provenance else None) or ()


def _marks(rows: Sequence[ScoredRow], what: str, by: str) -> list[str]:
    """Notes that explain (MT) and †, for tables in which they occur."""
    notes = []
    if any(row.machine_translated for row in rows):
        notes.append(f"(MT): {what} machine-translated" + (f" ({by})" if by else ""))
    notes += filter(None, [synthetic_note(rows)])
    if translators := queries_translated_by(rows):
        notes.append(f"†: queries machine-translated first ({translators})")
    return notes


def _uncaptioned(rows: Sequence[RetrievalRow]) -> list[str]:
    counts = dict.fromkeys((row.lang, row.n_uncaptioned) for row in rows if row.n_uncaptioned)
    return [f"{lang}: {count:,} images have no caption; each is a miss in I→T" for lang, count in counts]


def _variants(rows: Sequence[RetrievalRow]) -> list[str]:
    return [
        f"{row.lang}, {row.model}, {name}: mean recall {other.mean_recall:.1f}"
        for row in rows
        for name, other in row.variants.items()
    ]
