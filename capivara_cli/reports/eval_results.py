"""Reads and writes the ``eval.json`` of a run folder, and stores examples of retrieved images."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import examples
from capivara_cli.evaluation.compare import LanguageAnswers
from capivara_cli.evaluation.examples import QueryPool
from capivara_cli.evaluation.measure import Contender, EvalData
from capivara_cli.evaluation.results import EvalResults
from capivara_cli.models.run_folder import RunDir
from capivara_cli.shards.sample import Sample
from capivara_cli.storage import checksums
from capivara_cli.storage.files import replace_text, sweep

FILE = "eval.json"


def read(folder: Path) -> EvalResults:
    """The results of a run folder, none if it has no ``eval.json``. Raises ``CapivaraError`` for a damaged file."""
    path = folder / FILE
    if not path.is_file():
        return EvalResults()
    try:
        document = json.loads(path.read_bytes())
        results = EvalResults.from_json(document)
        checksums.without_checksum(document)
    except ValueError as error:
        raise CapivaraError(f"{path}: damaged: {error}", "move it away and evaluate again") from error
    return results


def merge(folder: Path, results: EvalResults) -> None:
    """Add results to a run's ``eval.json``, all or nothing.

    They replace rows with the same model, set, split, language, mode and prompt; other rows stay.
    """
    measured = {row.identity for row in results.rows}
    merged = read(folder).where(lambda row: row.identity not in measured) + results
    document = checksums.with_checksum(merged.to_json())
    replace_text(folder / FILE, json.dumps(document, ensure_ascii=False, indent=1) + "\n")


class Rereadable(Protocol):
    """A set whose samples can be read again; ``samples`` returns None for a stream, which can be read only once."""

    def samples(self) -> Iterable[Sample] | None: ...


class ResultsWriter:
    """Writes the results on one set into the run folders of the models: the rows, and examples with images.

    Examples are in English and in the languages that the runs were trained for. Each shows what the run finds beside
    what the first model finds.
    """

    def __init__(self, data: EvalData, contenders: Sequence[Contender]) -> None:
        self._data = data
        self._first = contenders[0].name
        self._runs = [each for each in contenders if each.folder]
        self._langs = {lang for each in self._runs for lang in _trained_languages(each)} | {"en"}
        self._examples: dict[str, list[dict[str, Any]]] = {each.name: [] for each in self._runs}

    def watch(self, answers: LanguageAnswers) -> None:
        """Pick examples in one language."""
        if answers.lang not in self._langs:
            return
        data, captions = self._data, answers.captions
        pool = QueryPool(data.name, data.split, answers.lang, captions.texts, captions.owners, data.gallery.keys)
        for run, picked in self._examples.items():
            models = {name: answers.models[name] for name in (self._first, run) if name in answers.models}
            if run in models:
                picked.append(examples.pick(pool, models))

    def write(self, results: EvalResults, source: Rereadable) -> None:
        """Write rows and examples; ``source`` has the images of the examples."""
        for run in self._runs:
            folder = Path(run.folder)
            sweep(folder)
            merge(folder, results)
            if (picked := self._examples[run.name]) and (again := source.samples()) is not None:
                examples.save(folder / "examples", picked, functools.partial(iter, again))


def _trained_languages(contender: Contender) -> tuple[str, ...]:
    request = RunDir(Path(contender.folder)).document.get("request", {})
    return languages.codes(str(request.get("lang", "")))
