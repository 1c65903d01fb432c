"""The sections put together into one self-contained page: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from capivara_cli import __version__
from capivara_cli.reports.page.caption_journey import DataFolder
from capivara_cli.reports.page.captions import captions
from capivara_cli.reports.page.confusions import confusions
from capivara_cli.reports.page.costs_and_commands import commands, footprint, provenance
from capivara_cli.reports.page.findings import Findings
from capivara_cli.reports.page.gains import headline, per_language, per_set
from capivara_cli.reports.page.gallery import gallery
from capivara_cli.reports.page.markup import Section, escaped, language
from capivara_cli.reports.page.style import CSS
from capivara_cli.reports.page.tables import tables
from capivara_cli.reports.page.training import ablation, curves


def sections(found: Findings, stages: Sequence[DataFolder]) -> list[Section]:
    """Every part in its order; what is missing says so in its place."""
    made = [
        per_language(found),
        per_set(found),
        tables(found),
        confusions(found),
        gallery(found),
        captions(found.variant.first, stages),
        curves(found),
        ablation(found),
        footprint(found),
        commands(found),
        provenance(found),
    ]
    return [each for each in made if each is not None]


def document(found: Findings, parts: Sequence[Section]) -> str:
    """The whole page."""
    names = " and ".join(language(code) for code in found.taught)
    title = f"{names}: {found.variant.first.base} adapted by capivara"
    links = "".join(f'<a href="#{each.name}">{escaped(each.title)}</a>' for each in parts)
    body = "".join(each.to_html() for each in parts)
    runs = ", ".join(str(run.path) for run in found.runs)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escaped(title)}</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{CSS}</style>\n</head>\n<body>\n{headline(found)}<nav>{links}</nav>\n'
        f"<main>\n{body}</main>\n<footer>Written by capivara report {escaped(__version__)} from {escaped(runs)}. "
        f"The method: CAPIVARA, arXiv 2310.13683.</footer>\n</body>\n</html>\n"
    )
