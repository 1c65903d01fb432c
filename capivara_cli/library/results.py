"""What commands return to programs: tables and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from capivara_cli.shards.sample import Caption


class Evaluation:
    """The results of an evaluation. ``summary`` is what ``capivara eval --json`` prints."""

    def __init__(self, summary: dict[str, Any]) -> None:
        self.summary = summary

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per model, set and language, as in ``eval.json`` (docs/format.md), with ``task``: "retrieval",
        "classification" or "disparity". Scores are in percent."""
        from capivara_cli.evaluation.results import CLASSIFICATION, DISPARITY, RETRIEVAL

        tasks = (RETRIEVAL, CLASSIFICATION, DISPARITY)
        return [{"task": task, **row} for task in tasks for row in self.summary.get(task, [])]

    @property
    def table(self) -> str:
        """The tables that the command shows, as text."""
        from capivara_cli.evaluation.results import EvalResults
        from capivara_cli.reports.tables import terminal

        return terminal.tables(EvalResults.from_json(self.summary))

    def __str__(self) -> str:
        return self.table

    def __repr__(self) -> str:
        return self.table or "<no results>"


@dataclass(frozen=True)
class FoundImage:
    """An image that ``search`` found: its rank from 1, its cosine with the query, and where it is."""

    rank: int
    score: float
    key: str
    shard: str
    captions: tuple[Caption, ...]

    @classmethod
    def of(cls, hit: dict[str, Any]) -> FoundImage:
        """The image in a result of ``capivara search --json``."""
        captions = tuple(map(Caption.from_json, hit["captions"]))
        return cls(hit["rank"], hit["score"], hit["key"], hit["shard"], captions)


class FootprintTable:
    """The costs of results. ``stages`` has a dict per stage, ``total`` is their sum: seconds, kWh and g CO2e.

    ``records`` has a dict per command, as in ``footprint.jsonl`` (docs/format.md).
    """

    def __init__(self, summary: dict[str, Any]) -> None:
        self.stages: list[dict[str, Any]] = summary["stages"]
        self.total: dict[str, Any] = summary["total"]
        self.records: list[dict[str, Any]] = summary["records"]

    @property
    def table(self) -> str:
        """The table that ``capivara footprint`` shows, as text."""
        from capivara_cli.reports import footprint

        return footprint.page([*self.stages, self.total], self.records, "text")  # type: ignore[list-item, arg-type]

    def __str__(self) -> str:
        return self.table

    def __repr__(self) -> str:
        return self.table
