"""Commands that end in a result, as functions: they return it, and print nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import UsageError
from capivara_cli.library._calls import call
from capivara_cli.library._options import Keywords, keywords, texts_of
from capivara_cli.library._performing import kept_random_state, performed
from capivara_cli.library.model import Model, load
from capivara_cli.library.pipeline import Pipeline
from capivara_cli.library.results import Evaluation, FootprintTable, FoundImage
from capivara_cli.library.shards import Shards
from capivara_cli.library.sources import StrPath
from capivara_cli.pipeline.command import Invocation
from capivara_cli.registry import load_command

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from capivara_cli.library.keywords import (
        AdaptKeywords,
        EvalKeywords,
        ExportKeywords,
        FootprintKeywords,
        SearchKeywords,
        TrainKeywords,
    )

Inputs = Shards | StrPath | Sequence[StrPath]
_OUT = {"--out": "folder"}
TRAIN = Keywords("train", ("out", "seed", "device", "overwrite", "max_failures", "energy"))
EVAL = Keywords("eval", ("seed", "device", "max_failures", "energy"), function="evaluate")
ADAPT = Keywords("adapt", ("seed", "device", "overwrite", "max_failures", "energy"))
SEARCH = Keywords("search", ("device",), left_out=("image", "queries", "inline"), renamed={"--image": "query"})
EXPORT = Keywords("export", ("overwrite",), left_out=("to", "hf"), renamed=_OUT)
FOOTPRINT = Keywords("footprint", ("country", "region", "intensity"), left_out=("format",))


@keywords(TRAIN)
def train(shards: Inputs, **options: Unpack[TrainKeywords]) -> Run:
    """Train CLIP for a language on shards with captions, and return the run; a run that was stopped is resumed.

    The run folder is ``out``, or ``runs``/``name``. For several runs (``seeds``, ``separately``) the first is returned;
    its ``runs`` are all. Ctrl-C takes effect at the end of a step. Raises ``CapivaraError`` for wrong options, if the
    folder holds another run, and in a process of ``torchrun``, for which there is the command line.

    >>> run = capivara.train("ready", lang="pt", model="toy", steps=2, batch_size=4)
    >>> run.folder.name, run.summary["steps"]
    ('pt', 2)
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ:
        raise UsageError("train: in one process only", "torchrun --nproc-per-node N -m capivara_cli train …")
    summary = _performed(TRAIN, _inputs(shards), options)
    return Run(summary["run"], summary)


@keywords(EVAL)
def evaluate(targets: Inputs | Run | Sequence[StrPath | Run], **options: Unpack[EvalKeywords]) -> Evaluation:
    """Measure retrieval and classification per language on eval sets, shards, and the models of run folders.

    ``targets``: names of eval sets, shards, and runs; each run is compared with the first model, which is that of
    ``model`` if it is given. The results are also written into the folders of the runs. Raises ``CapivaraError`` for an
    unknown target, and if data is missing.

    >>> print(capivara.evaluate("toy:30", model="toy", lang=["pt", "en"]).rows[0]["n_images"])
    30
    """
    return Evaluation(_performed(EVAL, _inputs(targets), options))


@keywords(ADAPT)
def adapt(images: Inputs, **options: Unpack[AdaptKeywords]) -> Run:
    """Run the whole method, from photos or shards to a tuned and evaluated model, and return the run.

    ``images``: as for ``pack``, or shards, or ``toy:N``. A chain that was stopped is resumed. The ``summary`` of the
    run has the results before and after, and the cost of the chain; its ``runs`` are those of all ``seeds``. Raises
    what the stages, ``train`` and ``evaluate`` raise.
    """
    summary = _performed(ADAPT, _inputs(images), options)
    return Run(summary["run"], summary)


@keywords(SEARCH)
def search(query: str | os.PathLike[str], shards: Inputs, **options: Unpack[SearchKeywords]) -> list[FoundImage]:
    """Find the ``k`` images that fit a sentence, or that look like an image (a ``Path``), best first.

    The first search embeds the images and keeps an index on this machine. Raises ``CapivaraError`` for an empty query,
    and for shards or a model that cannot be read.

    >>> found = capivara.search("a red square", "shards", model="toy", k=2)
    >>> [each.rank for each in found], found[0].captions[0].text
    ([1, 2], 'a red square number 0')
    """
    inputs = _inputs(shards)
    given: dict[str, Any] = {"inline": "off"}
    if isinstance(query, os.PathLike):
        given["image"] = os.fspath(query)
    elif isinstance(query, str):
        inputs = [query, *inputs]
    else:
        raise UsageError(f"{query!r:.60}: a query is a text, or the Path of an image")
    summary = _performed(SEARCH, inputs, options, given)
    return [FoundImage.of(hit) for hit in summary["results"][0]["hits"]]


@keywords(EXPORT)
def export(run: StrPath | Run, folder: StrPath, **options: Unpack[ExportKeywords]) -> Path:
    """Write a finished run in a form that other programs load, to a new folder, which is returned.

    ``format``: "open-clip", "peft", "hf", "onnx", or "hub", a repository for the Hugging Face hub, which ``repo``
    names. Raises ``CapivaraError`` if the folder exists already, and for a run that is not finished.
    """
    (out,) = texts_of(folder)
    return Path(_performed(EXPORT, _inputs(run), options, out=out)["to"])


@keywords(FOOTPRINT)
def footprint(results: Inputs | Run | Sequence[StrPath | Run], **options: Unpack[FootprintKeywords]) -> FootprintTable:
    """The time, energy and CO2e of all commands that led to runs or folders of shards, by stage and in total.

    Raises ``CapivaraError`` if no result has a cost record.
    """
    return FootprintTable(_performed(FOOTPRINT, _inputs(results), options))


class Run:
    """A finished run folder. ``summary`` is what ``train`` or ``adapt`` returned; {} for a run that is only opened.

    A ``Run`` can be given wherever a path to a run can. Raises ``CapivaraError`` for a folder without a finished run.
    """

    def __init__(self, folder: StrPath, summary: dict[str, Any] | None = None) -> None:
        from capivara_cli.models.run_folder import open_run

        self.folder = Path(folder)
        self.summary = dict(summary or {})
        with call():
            open_run(self.folder)

    @property
    def runs(self) -> list[Run]:
        """The runs of every language and seed of the same call; only this one if there was one."""
        found = self.summary.get("runs", [self.summary])
        if len(found) < 2:
            return [self]
        return [Run(each, {}) if isinstance(each, str) else Run(each["run"], each) for each in found]

    @property
    def results(self) -> Evaluation:
        """All results of evaluations of this run, from its ``eval.json``; no rows if there are none."""
        from capivara_cli.reports import eval_results

        with call():
            return Evaluation(eval_results.read(self.folder).to_json())

    @keywords(EVAL, listed=False)
    def evaluate(self, targets: Inputs, **options: Unpack[EvalKeywords]) -> Evaluation:
        """Measure this run on eval sets or shards: ``capivara.evaluate([run, *targets], …)``, with its keywords.

        With ``model``, the run is compared with that model. Raises ``CapivaraError`` as ``capivara.evaluate`` does.
        """
        return evaluate([self, *_inputs(targets)], **options)

    def model(self, *, device: str = "auto") -> Model:
        """Load the tuned model. Raises ``CapivaraError`` if its files are damaged, or its base model is missing."""
        return load(self, device=device)

    def __fspath__(self) -> str:
        return str(self.folder)

    def __repr__(self) -> str:
        return f"<run {self.folder}>"


def _inputs(given: object) -> list[str]:
    """The names of inputs. Raises ``UsageError`` for samples that are not stored, and for no input."""
    if isinstance(given, Shards):
        return given.inputs
    if isinstance(given, Pipeline):
        raise UsageError(f"{given!r}: its samples are not stored", 'capivara.write(samples, "folder") stores them')
    with call():
        return texts_of(given)


def _performed(
    given: Keywords, inputs: list[str], options: Any, more: dict[str, Any] | None = None, **settings: Any
) -> dict[str, Any]:
    """Perform the command of some keywords; ``more`` are values of options that are no keywords."""
    from dataclasses import replace

    with call(bool(options.get("progress", False)), given.flags), kept_random_state():
        built, shared, _ = given.parse(options, **settings)
        return performed(Invocation(load_command(given.command), inputs, replace(built, **(more or {})), shared))
