"""The cost of a run, the commands that reproduce it, and the provenance of its data."""

from __future__ import annotations

import shlex

from capivara_cli import console
from capivara_cli.costs import ledger
from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.models.run_document import RunDocument
from capivara_cli.pipeline.command_text import step_texts
from capivara_cli.reports.footprint import intensities
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.command_lines import eval_command, train_command
from capivara_cli.reports.page.findings import Findings
from capivara_cli.reports.page.formats import energy, language, mass
from capivara_cli.reports.page.section import Missing, Panel, Section
from capivara_cli.reports.tables.table import NONE, Cell, Group, Table, cells, columns


def footprint(found: Findings) -> Section:
    """Show energy, CO2e, time and samples for each stage of these runs; a stage that runs share is counted once."""
    title = "What it cost"
    records = ledger.unique(record for run in found.runs for record in run.records)
    if not records:
        text = "No footprint was recorded. Commands measure their energy unless --no-energy is given."
        return Section("footprint", title, missing=Missing(text))
    stages, total = ledger.sums(records)
    bars = [(row["stage"], row["kwh"] * 1000, energy(row["kwh"])) for row in stages]
    alt = ", ".join(f"{stage}: {words}" for stage, _, words in bars)
    headings = ["stage", "runs", "samples", "time", "CPU", "energy", "CO₂e", "power"]
    rows = []
    for row in (*stages, total):
        counted = [each.get("samples") for each in records if each["stage"] == row["stage"]]
        samples = sum(each for each in counted if isinstance(each, int))
        times = [console.duration(row["seconds"]), console.duration(row["cpu_seconds"])]
        amounts = [f"{samples:,}" if samples else "", *times, energy(row["kwh"]), mass(row["co2e_g"])]
        rows.append(cells([row["stage"], f"{row['runs']:,}", *amounts, row["source"]]))
    group = Group("", tuple(rows), (*[""] * len(stages), "after"))
    hardware = sorted({str(each.get("hardware", "unknown")) for each in records} - {"unknown"})
    intro = f"Carbon intensity: {intensities(records)}." + (f" Hardware: {', '.join(hardware)}." if hardware else "")
    table = Table(title, columns(headings, ("stage", "power")), (group,))
    return Section("footprint", title, intro, {"panel": Panel("", charts.bars(bars, alt)), "table": table})


def commands(found: Findings) -> Section:
    """Show the steps that made the data, the training of each run, and the evaluation."""
    run = found.variant.first
    steps = step_texts(run.document.get("history") or [])
    plan = shlex.quote("\n  " + "\n  | ".join(steps) + "\n")
    data: str | Missing = Missing("The shards were not made by capivara.")
    if steps:
        data = f"capivara run {plan} {'PHOTOS' if steps[0].startswith('pack') else 'INPUT'} --out SHARDS"
    training = "\n".join(train_command(each) for each in found.runs)
    rows = [row for each in found.runs for row in each.results.scored]
    sets, langs = list(dict.fromkeys(row.set for row in rows)), list(dict.fromkeys(row.lang for row in rows))
    evaluation: str | Missing = Missing("Not evaluated yet:", eval_command(found.runs))
    if rows:
        evaluation = eval_command(found.runs, sets, langs)
    versions = ", ".join(f"{name} {version}" for name, version in run.document.get("versions", {}).items())
    values = {"steps": [("Data", data), ("Training", training), ("Evaluation", evaluation)], "versions": versions}
    return Section("commands", "How to reproduce it", "", values)


def provenance(found: Findings) -> Section:
    """Show the base model and the data with their checksums, and the source, licence and split of each eval set."""
    rows: dict[tuple[str, ...], tuple[str, list[str], Provenance]] = {}
    for outcome in found.outcomes:
        known = next((row.provenance for row in outcome.rows if row.provenance), Provenance())
        facts_of: list[object] = [known.source, known.licence, known.obtained, known.checksums, known.by]
        facts_of.append(sorted(known.captions_by or ()))
        _, langs, _ = rows.setdefault((outcome.set_label, repr(facts_of)), (outcome.set_label, [], known))
        if outcome.lang not in langs:
            langs.append(outcome.lang)
    headings = ["set", "languages", "captions or names by", "source", "licence", "obtained", "checksums"]
    body = [cells([label, ", ".join(map(language, langs)), *_cells(known)]) for label, langs, known in rows.values()]
    table = Table.of_rows("Eval sets", columns(headings, headings), body) if rows else None
    return Section("provenance", "Provenance", "", {"facts": _facts(found.variant.first.document), "table": table})


def _facts(document: RunDocument) -> list[tuple[str, str]]:
    base, data = document.get("base", {}), document.get("data", {})
    authors = ", ".join(f"{count:,} in {lang} by {author}" for lang, author, count in data.get("authors", []))
    return [
        ("Base model, image tower", str(base.get("image", ""))),
        ("Base model, text tower", str(base.get("text", ""))),
        ("Image preprocessing", str(base.get("identity", {}).get("preprocess", ""))),
        ("Training captions", authors),
        ("Training data", str(data.get("fingerprint", ""))),
        ("Adapter", f"sha256:{document['adapter_sha256']}" if document.get("adapter_sha256") else ""),
    ]


def _cells(known: Provenance) -> list[str | Cell]:
    by = ", ".join(f"{name} ({count:,})" for name, count in (known.captions_by or {}).items())
    sums = tuple(Cell(f"{name} {value[:19]}…", title=value) for name, value in known.checksums.items())
    texts = [by or known.by or NONE, known.source or NONE, known.licence or "not stated", known.obtained or NONE]
    return [*texts, Cell("" if sums else NONE, notes=sums)]
