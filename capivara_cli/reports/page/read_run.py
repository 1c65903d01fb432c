"""Run folders, read and checked for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import languages
from capivara_cli.costs import ledger
from capivara_cli.evaluation import examples
from capivara_cli.evaluation.results import EvalResults
from capivara_cli.models.run_document import Metrics, RunDocument
from capivara_cli.models.run_folder import open_run
from capivara_cli.reports import eval_results


@dataclass(frozen=True)
class Run:
    """A finished run: run.json, eval.json, retrieval examples, the metrics of each step, and its ledger."""

    path: Path
    document: RunDocument
    results: EvalResults
    examples: list[dict[str, Any]]
    metrics: list[Metrics]
    records: list[ledger.LedgerRecord]

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def request(self) -> dict[str, Any]:
        return self.document["request"]

    @property
    def languages(self) -> list[str]:
        """The codes of the languages it was trained in."""
        return list(languages.codes(str(self.request.get("lang", ""))))

    @property
    def base(self) -> str:
        source = self.document.get("base", {}).get("source", {})
        return f"{source.get('model', self.request.get('model', '?'))} {source.get('pretrained', '')}".strip()

    def is_model(self, model: str) -> bool:
        """Whether a row's model is this run. Rows name the folder as it was given to ``capivara eval``."""
        if model == self.document.get("base", {}).get("source", {}).get("model"):
            return False  # a run may have the name of its base model
        return Path(model).name in {self.name, self.document.get("name")}


def read_run(path: Path) -> Run:
    """Read a run folder. Raises ``CapivaraError`` if it is unfinished or one of its files is damaged."""
    run = open_run(path)
    return Run(
        path,
        run.document,
        eval_results.read(path),
        examples.load(path / "examples")["sets"],
        run.read_metrics(),
        ledger.read(path),
    )
