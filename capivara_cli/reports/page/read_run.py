"""What there is to report: run folders read and checked, so that the page is made of what is sound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import languages
from capivara_cli.costs import ledger
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import examples
from capivara_cli.models.run_folder import open_run

Row = dict[str, Any]

EVAL = "eval.json"
PARTS = ("retrieval", "classification", "disparity")
_OF_EVERY_ROW: Row = {"split": "", "versus": None, "interval": None, "machine_translated": False, "queries_by": ""}
_OF_A_MODEL: dict[str, type] = {"set": str, "lang": str, "model": str}
_NEEDED: dict[str, dict[str, type]] = {
    "retrieval": {**_OF_A_MODEL, "mean_recall": float, "text_to_image": dict, "image_to_text": dict},
    "classification": _OF_A_MODEL,
    "disparity": {"set": str, "model": str, "range": float, "std": float, "languages": list},
}


@dataclass(frozen=True)
class Run:
    """A finished run: ``rows`` of its eval.json by part, ``examples`` of what it finds, ``metrics`` of its steps."""

    path: Path
    document: dict[str, Any]
    rows: dict[str, list[Row]]
    examples: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    records: list[ledger.Record]

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def request(self) -> dict[str, Any]:
        return self.document["request"]

    @property
    def languages(self) -> list[str]:
        """The codes of the languages that were taught."""
        named = str(self.request.get("lang", "")).split(",")
        return list(dict.fromkeys(languages.code_of(part.strip()) for part in named if part.strip()))

    @property
    def base(self) -> str:
        source = self.document.get("base", {}).get("source", {})
        return f"{source.get('model', self.request.get('model', '?'))} {source.get('pretrained', '')}".strip()

    def is_model(self, model: str) -> bool:
        """Whether a row's model is this run: rows name the folder as it was given to ``capivara eval``."""
        if model == self.document.get("base", {}).get("source", {}).get("model"):
            return False  # a run may be called like its base model
        return Path(model).name in {self.name, self.document.get("name")}


def read_run(path: Path) -> Run:
    """Everything in a run folder. Raises ``CapivaraError`` for one that is unfinished, and for a damaged file."""
    run = open_run(path)
    return Run(
        path,
        run.document,
        read_rows(path / EVAL),
        examples.load(path / "examples")["sets"],
        read_metrics(run.metrics),
        ledger.read(path),
    )


def read_rows(path: Path) -> dict[str, list[Row]]:
    """The rows of ``eval.json`` by part, none where there is no such file; what older files lack is filled in."""
    if not path.is_file():
        return {part: [] for part in PARTS}
    try:
        document = json.loads(path.read_bytes())
        return {part: [_row(part, row) for row in document[part]] for part in PARTS}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CapivaraError(f"{path}: damaged: {error}", "move it away and evaluate again") from error


def _row(part: str, row: Row) -> Row:
    for key, kind in _NEEDED[part].items():
        kinds = (int, float) if kind is float else (kind,)
        if not isinstance(row[key], kinds) or isinstance(row[key], bool):
            raise ValueError(f"{key!r} of a {part} row is {row[key]!r}")
    row = {**_OF_EVERY_ROW, **row}
    if part == "classification":
        row = {"mode": "zero-shot", "metric": "accuracy", "score": row.get("top1"), "confused": [], **row}
        if not isinstance(row["score"], int | float):
            raise ValueError(f"'score' of a classification row is {row['score']!r}")
    if row["versus"] is not None:
        float(row["versus"]["difference"])
    if row["interval"] is not None:
        low, high = row["interval"]
        float(low), float(high)
    return row


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``; a last one torn by a kill counts as not written, any other damage is an error."""
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            float(entry["step"]), float(entry["loss"]), dict(entry.get("terms", {}))
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise CapivaraError(f"{path}: line {number}: damaged: {error}", "train again, or move it away") from error
        found.append(entry)
    return found
