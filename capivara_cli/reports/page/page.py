"""The sections as one self-contained page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from capivara_cli import __version__
from capivara_cli.reports.page.caption_history import DataFolder
from capivara_cli.reports.page.captions import captions
from capivara_cli.reports.page.confusions import confusions
from capivara_cli.reports.page.costs_and_commands import commands, footprint, provenance
from capivara_cli.reports.page.findings import Findings
from capivara_cli.reports.page.formats import language
from capivara_cli.reports.page.gains import headline, per_language, per_set
from capivara_cli.reports.page.gallery import gallery
from capivara_cli.reports.page.section import Section
from capivara_cli.reports.page.tables import tables
from capivara_cli.reports.page.training import ablation, curves
from capivara_cli.reports.templates import render


def sections(found: Findings, folders: Sequence[DataFolder]) -> list[Section]:
    """Return every section in order; one whose data are missing says how to get them."""
    every = [
        per_language(found),
        per_set(found),
        tables(found),
        confusions(found),
        gallery(found),
        captions(found.variant.first, folders),
        curves(found),
        ablation(found),
        footprint(found),
        commands(found),
        provenance(found),
    ]
    return [each for each in every if each is not None]


def document(found: Findings, parts: Sequence[Section]) -> str:
    """Return the whole page."""
    names = " and ".join(language(code) for code in found.trained)
    return render(
        "report.html",
        title=f"{names}: {found.variant.first.base} adapted by capivara",
        headline=headline(found),
        sections=parts,
        version=__version__,
        runs=", ".join(str(run.path) for run in found.runs),
    )
