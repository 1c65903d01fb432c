"""The model card of a run, written from the files of the run.

Its sections are those of CAPIVARA's own card (arXiv 2310.13683, appendix A.6), after "Model Cards for Model Reporting"
(Mitchell et al. 2019, arXiv 1810.03993). It leaves out what these files do not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from capivara_cli.costs import ledger
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.results import EvalResults
from capivara_cli.models.run_document import RunDocument, trained_languages
from capivara_cli.models.run_folder import RunDir
from capivara_cli.reports import eval_results, markdown
from capivara_cli.reports.card import about_the_results, about_the_run
from capivara_cli.reports.card.front_matter import front_matter, written
from capivara_cli.reports.card.how_to_load import RUN_FOLDER, ExportedForms, library, loading
from capivara_cli.reports.card.public import public
from capivara_cli.storage.files import replace_text

FILE = "MODEL_CARD.md"


def write(folder: Path) -> None:
    """Write the card of a run folder anew from its run.json, eval.json and footprint.json, all or nothing.

    Raises ``CapivaraError`` for a folder without a finished run, and for a damaged file.
    """
    replace_text(folder / FILE, of_folder(folder))


def edited(folder: Path) -> bool:
    """Whether the run folder has a card that differs from the one that ``write`` would write."""
    path = folder / FILE
    return path.is_file() and path.read_bytes() != of_folder(folder).encode()


def of_folder(folder: Path, exported: ExportedForms = RUN_FOLDER) -> str:
    """The card of a run folder. ``beside``: the forms of the model that lie beside the card.

    Raises ``CapivaraError`` as ``write`` does.
    """
    run = RunDir(folder)
    if "result" not in run.document:
        raise CapivaraError(f"{folder}: no finished run, so there is no model card to write")
    return model_card(run.document, read_results(folder), ledger.read(folder), exported)


def read_results(folder: Path) -> EvalResults:
    """The rows of ``eval.json``, without those of another model with the name of this run."""
    results = eval_results.read(folder)
    others = _others(folder.resolve(), {row.model for row in results.rows})
    return results.where(lambda row: row.model not in others)


def _others(folder: Path, models: set[str]) -> set[str]:
    """The models with the name of this run's folder that are not this run. Rows name a run by the path as typed."""
    namesakes = {name for name in models if Path(name).name == folder.name}
    own = {name for name in namesakes if Path(name).resolve() == folder}
    return namesakes - (own or {name for name in namesakes if "/" in name} or namesakes)


def model_card(
    document: RunDocument,
    results: EvalResults | None = None,
    footprint: Sequence[ledger.LedgerRecord] | None = None,
    exported: ExportedForms = RUN_FOLDER,
) -> str:
    """The card as Markdown, with the front matter that the Hugging Face hub reads.

    ``document``, ``results`` and ``footprint``: the contents of ``run.json``, ``eval.json`` and ``footprint.json``. The
    card contains no path of this machine.
    """
    run: RunDocument = public(document)
    records: list[ledger.LedgerRecord] = public(list(footprint or []))
    shown = EvalResults.from_json(public((results or EvalResults()).to_json()))
    compared = _compared(run["name"], shown)
    own = compared.where(lambda row: row.model == run["name"])
    # If the base is a run too, its own base is looked up by its path.
    metadata = front_matter({**run, "base": document["base"]}, own, records, library(run, exported))
    langs = ", ".join(trained_languages(run["request"]))
    parts = [
        written(metadata),
        f"# {markdown.escaped(run['name'])}: {markdown.escaped(run['base']['identity']['model'])} for {langs}\n",
        about_the_run.opening(run),
        *(_section(title, text) for title, text in _sections(run, own, compared, records, exported)),
    ]
    return "\n".join(parts)


def _sections(
    run: RunDocument,
    own: EvalResults,
    compared: EvalResults,
    records: Sequence[ledger.LedgerRecord],
    exported: ExportedForms,
) -> list[tuple[str, str]]:
    return [
        ("Model details", about_the_run.details(run)),
        ("Intended use", about_the_run.intended_use(run)),
        ("Factors", about_the_run.factors(run, own)),
        ("Metrics", about_the_results.metrics(own)),
        ("Evaluation data", about_the_results.data(own)),
        ("Training data", about_the_run.data(run["data"])),
        ("Quantitative analyses", about_the_results.analyses(run, compared)),
        ("Ethical considerations", about_the_run.ethics(run)),
        ("Caveats and recommendations", about_the_run.caveats(run)),
        ("Training procedure", about_the_run.procedure(run)),
        ("How the data was made", about_the_run.history(run["history"])),
        ("Environmental impact", about_the_results.impact(records)),
        ("How to load it", loading(run, exported)),
        ("Citation", about_the_run.CITATION),
    ]


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.rstrip()}\n"


def _compared(name: str, results: EvalResults) -> EvalResults:
    """The rows of this run, under its name, and those of the models it was compared with."""
    named = results.renamed(lambda model: name if Path(model).name == name else model)
    shown = {name} | {row.versus.model for row in named.scored if row.model == name and row.versus}
    return named.where(lambda row: row.model in shown)
