"""What everything cost, the commands that made it, and where the evaluation data come from."""

from __future__ import annotations

import shlex
from typing import Any

from capivara_cli import console
from capivara_cli.costs import ledger
from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.pipeline.typed import steps_of
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.command_lines import eval_command, train_command
from capivara_cli.reports.page.findings import Findings
from capivara_cli.reports.page.gains import energy, mass
from capivara_cli.reports.page.markup import Section, Table, code, escaped, language, missing


def footprint(found: Findings) -> Section:
    """kWh, CO2e, time and samples per stage, of all that led to these runs; what they share is counted once."""
    title = "What it cost"
    records = ledger.unique(record for run in found.runs for record in run.records)
    if not records:
        text = "No footprint was recorded: commands measure what they use unless told --no-energy."
        return Section("footprint", title, "", missing(text))
    stages, total = ledger.sums(records)
    bars = [(row["stage"], row["kwh"] * 1000, energy(row["kwh"])) for row in stages]
    alt = ", ".join(f"{stage}: {words}" for stage, _, words in bars)
    table = Table(["stage|", "runs", "samples", "time", "CPU", "energy", "CO₂e", "power was|"])
    for row in (*stages, total):
        counted = [each.get("samples") for each in records if row is total or each["stage"] == row["stage"]]
        samples = sum(each for each in counted if isinstance(each, int)) if row is not total else 0
        table.add(
            [
                escaped(row["stage"]),
                f"{row['runs']:,}",
                f"{samples:,}" if samples else "",
                console.duration(row["seconds"]),
                console.duration(row["cpu_seconds"]),
                energy(row["kwh"]),
                mass(row["co2e_g"]),
                escaped(row["source"]),
            ],
            "after" if row is total else "",
        )
    where = sorted({f"{each.get('country', '?')}, {each.get('intensity', 0):g} g/kWh" for each in records})
    hardware = sorted({str(each.get("hardware", "unknown")) for each in records} - {"unknown"})
    intro = f"Carbon intensity: {'; '.join(where)}." + (f" Hardware: {', '.join(hardware)}." if hardware else "")
    drawn = f'<div class="panels"><div class="panel">{charts.bars(bars, alt)}</div></div>'
    return Section("footprint", title, intro, drawn + table.to_html())


def commands(found: Findings) -> Section:
    """The steps that made the data, the training of each run, and the evaluation."""
    run = found.variant.first
    steps = steps_of(run.document.get("history") or [])
    plan = shlex.quote("\n  " + "\n  | ".join(steps) + "\n")
    made = missing("The shards were not made by capivara.")
    if steps:
        made = code(f"capivara run {plan} {'PHOTOS' if steps[0].startswith('pack') else 'INPUT'} --out SHARDS")
    training = code(*(train_command(each) for each in found.runs))
    rows = [row for each in found.runs for row in each.results.scored]
    sets, langs = list(dict.fromkeys(row.set for row in rows)), list(dict.fromkeys(row.lang for row in rows))
    evaluated = (
        code(eval_command(found.runs, sets, langs)) if rows else missing("Not evaluated yet:", eval_command(found.runs))
    )
    versions = ", ".join(f"{name} {version}" for name, version in run.document.get("versions", {}).items())
    note = f"<p class='note'>Made with {escaped(versions)}.</p>" if versions else ""
    body = (
        f"<h3>Data</h3>{made}<h3>Training</h3>{training}<h3>Evaluation</h3>{evaluated}{note}"
        "<p class='note'>Options that have their default are left out. What stands in capitals is not recorded; the "
        "evaluation is put together from the rows of eval.json.</p>"
    )
    return Section("commands", "How to reproduce it", "", body)


def provenance(found: Findings) -> Section:
    """The base model and the data with their checksums, and every eval set with source, licence and split."""
    run = found.variant.first
    facts = _facts(run.document)
    body = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in facts if value)
    body = f"<dl>{body}</dl>"
    rows: dict[tuple[str, ...], tuple[str, list[str], Provenance]] = {}
    for outcome in found.outcomes:
        known = next((row.provenance for row in outcome.rows if row.provenance), Provenance())
        facts_of: list[object] = [known.source, known.licence, known.obtained, known.checksums, known.by]
        facts_of.append(sorted(known.captions_by or ()))
        _, langs, _ = rows.setdefault((outcome.place, repr(facts_of)), (outcome.place, [], known))
        if outcome.lang not in langs:
            langs.append(outcome.lang)
    if rows:
        columns = ["set|", "languages|", "captions or names by|", "source|", "licence|", "obtained|", "checksums|"]
        table = Table(columns, kind="wrap")
        for place, langs, known in rows.values():
            table.add([escaped(place), escaped(", ".join(map(language, langs))), *_cells(known)])
        body += f"<h3>Eval sets</h3>{table.to_html()}"
    return Section("provenance", "Provenance", "", body)


def _facts(document: dict[str, Any]) -> list[tuple[str, str]]:
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


def _cells(known: Provenance) -> list[str]:
    by = ", ".join(f"{name} ({count:,})" for name, count in (known.captions_by or {}).items())
    sums = "<br>".join(
        f"{escaped(name)} <code title='{escaped(value)}'>{escaped(value[:19])}…</code>"
        for name, value in known.checksums.items()
    )
    texts = [by or known.by or "—", known.source or "—", known.licence or "not said", known.obtained or "—"]
    return [*map(escaped, texts), sums or "—"]
