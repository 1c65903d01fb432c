"""What run folders keep of an evaluation: every row, and examples with images beside the first model's."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from capivara_cli.evaluation import examples
from capivara_cli.evaluation.compare import Embedded
from capivara_cli.evaluation.examples import Queried
from capivara_cli.evaluation.gallery import code_of
from capivara_cli.evaluation.measure import Contender, Row, Subject
from capivara_cli.models.run_folder import RunDir
from capivara_cli.reports.tables import terminal
from capivara_cli.shards.sample import Sample


class Rereadable(Protocol):
    """A set whose samples can be had once more; None for a stream, which is gone."""

    def samples(self) -> Iterable[Sample] | None: ...


class Keeping:
    """Shown the embeddings of one set, language by language; in the end keeps rows and examples in each run folder.

    Examples are chosen in the languages that the runs were taught, and in English.
    """

    def __init__(self, subject: Subject, contenders: Sequence[Contender]) -> None:
        self._subject = subject
        self._first = contenders[0].name
        self._runs = [each for each in contenders if each.folder]
        self._langs = {lang for each in self._runs for lang in _taught(each)} | {"en"}
        self._chosen: dict[str, list[dict[str, Any]]] = {each.name: [] for each in self._runs}

    def watch(self, embedded: Embedded) -> None:
        if embedded.lang not in self._langs:
            return
        subject, captions = self._subject, embedded.captions
        asked = Queried(
            subject.name, subject.split, embedded.lang, captions.texts, captions.owners, subject.gallery.keys
        )
        for run, chosen in self._chosen.items():
            models = {name: embedded.models[name] for name in (self._first, run) if name in embedded.models}
            if run in models:
                chosen.append(examples.pick(asked, models))

    def save(self, rows: dict[str, list[Row]], source: Rereadable) -> None:
        for run in self._runs:
            folder = Path(run.folder)
            terminal.save(folder, rows)
            if (chosen := self._chosen[run.name]) and (again := source.samples()) is not None:
                examples.save(folder / "examples", chosen, functools.partial(iter, again))


def _taught(contender: Contender) -> list[str]:
    request = RunDir(Path(contender.folder)).document.get("request", {})
    return [code_of(lang.strip()) for lang in str(request.get("lang", "")).split(",") if lang.strip()]
