"""Tell the story of a run in one HTML page to show: capivara report runs/pt   ·   of several: capivara report runs/*

Results with intervals, examples with images, captions kept and dropped, curves, costs, commands. Several runs are
averaged where only their seeds differ, and compared where their options do. --out FILE.html names the file; without
it, it is report.html in the first run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import opt
from capivara_cli.storage.files import replace_text

NAME = "report.html"


@dataclass(frozen=True)
class Options:
    shards: str = opt(
        "",
        "folders of shards that led to the run, comma-separated, --rejects folders too [default: found beside the run]",
    )


@command("report", Options, "RUN")
def report(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Write one self-contained page about the runs: to ``--out FILE.html``, or ``report.html`` in the first run.

    What is missing is said on the page with the command that makes it.
    """
    if not inputs:
        raise UsageError("report: of which run?", "capivara report runs/pt")

    from capivara_cli.reports.page.caption_journey import find_stages
    from capivara_cli.reports.page.findings import findings
    from capivara_cli.reports.page.page import document, sections
    from capivara_cli.reports.page.read_run import read_run

    runs = [read_run(Path(path)) for path in dict.fromkeys(text.rstrip("/") for text in inputs)]
    found = findings(runs)
    given = [part.strip() for part in options.shards.split(",") if part.strip()]
    stages = find_stages(found.variant.first, given)
    target = Path(env.settings.out) if env.settings.out else runs[0].path / NAME
    if target.suffix.lower() not in (".html", ".htm"):
        target = target / NAME
    parts = sections(found, stages)
    text = document(found, parts)
    replace_text(target, text)
    size = len(text.encode())
    console.say(f"capivara report: {target}, {size / 1e6:.1f} MB; open it in a browser")
    return {"report": str(target), "bytes": size, "sections": [each.name for each in parts]}
