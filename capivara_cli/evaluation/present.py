"""Results for people, as tables in percent, and on disk, as the ``eval.json`` of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.compare import Row
from capivara_cli.shards import replace_text

FILE = "eval.json"
PARTS = ("retrieval", "classification", "disparity")


def tables(found: dict[str, list[Row]]) -> str:
    """Every part that has rows as a table; with several models, each one's difference in points to the first."""
    blocks = []
    for name in dict.fromkeys(row["set"] for part in PARTS for row in found[part]):
        parts = {part: [row for row in found[part] if row["set"] == name] for part in PARTS}
        blocks += [f"{name}: {title}\n{text}" for title, text in _set_tables(parts)]
    return "\n\n".join(blocks)


def _set_tables(parts: dict[str, list[Row]]) -> list[tuple[str, str]]:
    made = []
    if rows := parts["retrieval"]:
        first = rows[0]
        images, captions = first["n_images"], "/".join(str(n) for n in dict.fromkeys(row["n_captions"] for row in rows))
        title = f"retrieval, {images} images, {captions} captions, recall in percent (T→I: text to image)"
        made.append((title, _retrieval_table(rows) + _footnotes(rows)))
    if rows := parts["classification"]:
        title = f"zero-shot classification, {rows[0]['n_images']} images, {rows[0]['n_classes']} classes, in percent"
        columns = {"top-1": "top1", "top-5": "top5", "per class": "mean_per_class"}
        made.append((title, _table(rows, columns, "top1")))
    if rows := parts["disparity"]:
        columns = {"mean": "mean", "range": "range", "std": "std"}
        header = ["model", "of", *columns, "worst", "gap to en"]
        body = [
            [
                row["model"],
                _SCORES[row["score"]],
                *(_number(row[key]) for key in columns.values()),
                row["worst"],
                _gap(row),
            ]
            for row in rows
        ]
        made.append((f"disparity over {', '.join(rows[0]['languages'])}, in points", console.table(body, header)))
    return made


_SCORES = {"mean_recall": "mean recall", "top1": "top-1"}


def _gap(row: Row) -> str:
    """English minus the worst language."""
    gaps = row["gap_to_english"]
    return "—" if not gaps else _number(gaps.get(row["worst"], 0.0))


def _retrieval_table(rows: Sequence[Row]) -> str:
    flat = [
        {
            **row,
            **{f"T→I {key}": value for key, value in row["text_to_image"].items() if key != "mean"},
            **{f"I→T {key}": value for key, value in row["image_to_text"].items() if key != "mean"},
        }
        for row in rows
    ]
    columns = {name: name for name in flat[0] if name.startswith(("T→I", "I→T"))}
    return _table(flat, {**columns, "mean recall": "mean_recall"}, "mean_recall")


def _table(rows: Sequence[Row], columns: dict[str, str], score: str) -> str:
    """Rows ordered by language, then model; the last column compares ``score`` with the first model's."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    langs = list(dict.fromkeys(row["lang"] for row in rows))
    reference = {row["lang"]: row[score] for row in rows if row["model"] == models[0]}
    body = []
    for row in sorted(rows, key=lambda row: (langs.index(row["lang"]), models.index(row["model"]))):
        cells = [
            row["lang"] + "*" * bool(row.get("machine_translated")) + "†" * bool(row.get("queries_by")),
            row["model"],
        ]
        cells += [_number(row[key]) for key in columns.values()]
        if len(models) > 1:
            cells.append("" if row["model"] == models[0] else f"{row[score] - reference[row['lang']]:+.1f}")
        body.append(cells)
    return console.table(body, ["lang", "model", *columns, *["vs first"] * (len(models) > 1)])


def _footnotes(rows: Sequence[Row]) -> str:
    lines = []
    by = {who: None for row in rows if row["machine_translated"] for who in row["provenance"]["captions_by"]}
    if by:
        lines.append(f"* captions machine-translated ({', '.join(by)})")
    if asked := dict.fromkeys(row["queries_by"] for row in rows if row["queries_by"]):
        lines.append(f"† queries machine-translated first ({', '.join(asked)}), as this model was trained")
    lines += [
        f"{row['lang']}: {row['n_uncaptioned']} images have no caption: a miss each in I→T"
        for row in rows
        if row["n_uncaptioned"] and row["model"] == rows[0]["model"]
    ]
    return "".join(f"\n{line}" for line in lines)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f}"


def save(folder: Path, found: dict[str, list[Row]], model: str) -> None:
    """Put the results of one model into its run's ``eval.json``, all or nothing; other sets' results stay."""
    path = folder / FILE
    known = _load(path)
    own = {part: [row for row in found[part] if row["model"] == model] for part in PARTS}
    fresh = {(row["set"], row["split"]) for rows in own.values() for row in rows}
    merged = {
        part: [row for row in known[part] if (row["set"], row["split"]) not in fresh] + own[part] for part in PARTS
    }
    replace_text(path, json.dumps(merged, ensure_ascii=False, indent=1) + "\n")


def _load(path: Path) -> dict[str, list[Row]]:
    if not path.is_file():
        return {part: [] for part in PARTS}
    try:
        known: Any = json.loads(path.read_bytes())
        return {part: [row for row in known[part] if {"set", "split"} <= row.keys()] for part in PARTS}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CapivaraError(f"{path}: damaged, and not overwritten", "move it away and evaluate again") from error
