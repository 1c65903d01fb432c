"""The sections of a model card about the evaluation: metrics, data, results and cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from capivara_cli import console
from capivara_cli.costs import ledger
from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.evaluation.metric_names import of_metric
from capivara_cli.evaluation.results import MEAN_RECALL, ClassificationRow, EvalResults, RetrievalRow, ScoredRow
from capivara_cli.models.run_document import RunDocument, trained_languages
from capivara_cli.reports import markdown
from capivara_cli.reports.footprint import intensities
from capivara_cli.reports.tables.files import as_markdown
from capivara_cli.reports.tables.table import set_label

_CERTAINTY = (
    "intervals: 95 %, bootstrap over images; comparisons: paired on the same images, p adjusted for their number (Holm)"
)
_DISPARITY = (
    "disparity between languages: range, standard deviation and gap to English of one score (arXiv 2305.03510); lower "
    "is more equal"
)


def metrics(own: EvalResults) -> str:
    """What each metric in ``own`` means; without results, the metrics that ``capivara eval`` measures."""
    if not own.rows:
        return markdown.bullet_list(
            [of_metric(MEAN_RECALL).meaning, of_metric("accuracy").meaning, _DISPARITY, _CERTAINTY]
        )
    used = dict.fromkeys(row.metric for row in own.scored)
    meanings = [of_metric(name).meaning for name in used]
    return markdown.bullet_list([*meanings, *([_DISPARITY] if own.disparity else []), _CERTAINTY])


def data(own: EvalResults) -> str:
    """A line for each evaluation set: split, size, languages, source and licence."""
    found: dict[tuple[str, str, str], list[ScoredRow]] = {}
    for row in own.scored:
        known = row.provenance or Provenance()
        task = "retrieval" if isinstance(row, RetrievalRow) else "classification"
        found.setdefault((f"{set_label(row)}, {task}", known.source, known.licence), []).append(row)
    if not found:
        return "Not evaluated yet."
    return "\n".join(_set(name, source, licence, rows) for (name, source, licence), rows in found.items())


def _set(name: str, source: str, licence: str, rows: Sequence[ScoredRow]) -> str:
    images = {row.n_images for row in rows if row.n_images is not None}
    langs = dict.fromkeys(_lang(row) for row in rows if row.lang)
    by = dict.fromkeys(who for row in rows for who in _authors(row))
    facts = [
        f"{max(images):,} images" if images else "",
        f"in {', '.join(langs)}" if langs else "",
        f"texts by {', '.join(by)}" if by else "",
        source,
        f"licence: {licence or 'not known'}",
    ]
    return f"- **{markdown.escaped(name)}**: {markdown.escaped('; '.join(filter(None, facts)))}"


def _lang(row: ScoredRow) -> str:
    """The language of a row, and that its captions are no people's."""
    return (
        row.lang
        + " (machine-translated)" * row.machine_translated
        + " (synthetic: captions by a captioner, not by people)" * row.synthetic
    )


def _authors(row: ScoredRow) -> Iterable[str]:
    """Who wrote the class names, or the captions."""
    known = row.provenance or Provenance()
    names = row.names_by if isinstance(row, ClassificationRow) else ""
    return [names] if names else known.captions_by or filter(None, [known.by])


def analyses(run: RunDocument, compared: EvalResults) -> str:
    """The tables of this run and of the models it was compared with; without results, the command to get them."""
    if compared.rows:
        return as_markdown(compared, level=3)
    source = run["base"]["source"]
    base = source["model"] + (f" --pretrained {source['pretrained']}" if source["pretrained"] else "")
    langs = ",".join(dict.fromkeys([*trained_languages(run["request"]), "en"]))
    command = f"capivara eval TARGET THIS_FOLDER --model {base} --lang {langs}"
    return (
        f"Not evaluated yet: {markdown.code(command)} measures this model and its base, and writes the results here. "
        "TARGET is an eval set (`capivara list evalsets`) or shards whose captions were not used for training."
    )


def impact(records: Sequence[ledger.LedgerRecord]) -> str:
    """Energy and CO2e by stage, from the data to the evaluation."""
    if not records:
        return "Not measured: the commands ran with `--no-energy`, or their records are missing."
    stages, total = ledger.sums(ledger.unique(records))
    header = ["stage", "runs", "time", "CPU time", "Wh", "g CO₂e", "power was"]
    rows = [_cost(row) for row in (*stages, total)]
    lines = [markdown.table(header, [False, True, True, True, True, True, False], rows), ""]
    hardware = sorted({str(each.get("hardware", "unknown")) for each in records} - {"unknown"})
    lines.append(
        markdown.bullet_list([f"carbon intensity: {intensities(records)}", *(f"hardware: {name}" for name in hardware)])
    )
    return "\n".join(lines)


def _cost(row: ledger.CostSum) -> list[str]:
    return [
        markdown.escaped(row["stage"]),
        f"{row['runs']:,}",
        console.duration(row["seconds"]),
        console.duration(row["cpu_seconds"]),
        f"{row['kwh'] * 1000:.3g}",
        f"{row['co2e_g']:.3g}",
        markdown.escaped(row["source"]),
    ]
