"""Write one HTML page about a run, or about several.

It has results with intervals, examples with images, captions kept and dropped, curves, costs and commands. Runs that
differ in their seed only are averaged; others are compared. --out FILE.html names the file; without it, it is
report.html in the folder of the run, for several runs in the current folder.

Arguments:
    RUN: run folders, or a pattern: 'runs/*'

Examples:
    capivara report runs/pt
    capivara report runs/pt runs/hi --out both.html
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Names
from capivara_cli.pipeline.options import COSTS, opt, parsed
from capivara_cli.shards.inputs import local_paths
from capivara_cli.storage.files import replace_text, sweep

NAME = "report.html"


@dataclass(frozen=True)
class Options:
    shards: str = opt(
        "", "shards that led to the run, also of --rejects [default: beside the run]", kind=Names(), reads="files",
        metavar="FOLDERS",
    )  # fmt: skip


@command("report", Options, "RUN", settings=("out", *COSTS))
def report(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Write one self-contained page about the runs to ``--out FILE.html``, or to ``report.html`` in the run or here.

    For what is missing, the page names the command that makes it.
    """
    paths = _runs(inputs)
    target = _target(paths, env.settings.out)

    from capivara_cli.reports.page.caption_history import find_folders
    from capivara_cli.reports.page.findings import findings
    from capivara_cli.reports.page.page import document, sections
    from capivara_cli.reports.page.read_run import read_run

    runs = [read_run(path) for path in paths]
    found = findings(runs)
    for repeat in found.repeats:
        console.warn(f"{repeat.run.path} has the options and the seed of {repeat.of.path}: they count as one run")
    folders = find_folders(found.variant.first, parsed(options, "shards"))
    parts = sections(found, folders)
    text = document(found, parts)
    sweep(target.parent)
    replace_text(target, text)
    count = len(text.encode())
    console.say(f"capivara report: {target}, {console.size(count)}; open it in a browser")
    return {"report": str(target), "bytes": count, "sections": [each.name for each in parts]}


def _runs(inputs: Sequence[str]) -> list[Path]:
    """The run folders that the inputs name. Patterns such as ``runs/*`` also match the data beside the runs.

    So folders that are no runs are passed over, if there is a run among the inputs. Raises ``UsageError`` without any
    input.
    """
    named: dict[str, Path] = {}
    for path in (path for text in inputs for path in sorted(local_paths(text)) or [Path(text)]):
        if path.name != NAME:  # in runs/* there may be the page of an earlier report
            named.setdefault(os.path.realpath(path), path)  # a run under two names is one run
    if not named:
        raise UsageError("report: which run?", "capivara report runs/pt")
    others = [path for path in named.values() if path.is_dir() and not (path / "run.json").exists()]
    if len(others) == len(named):
        others = []
    for path in others:
        console.warn(f"{path}: not a run folder, so it is passed over")
    return [path for path in named.values() if path not in others]


def _target(runs: Sequence[Path], out: str) -> Path:
    """The file to write: ``out``, else ``report.html`` in the run, for several runs in the current folder.

    Raises ``UsageError`` for the ``report.html`` of a run that is not the only one.
    """
    target = Path(out) if out else runs[0] / NAME if len(runs) == 1 else Path(NAME)
    if out and target.suffix.lower() not in (".html", ".htm"):
        target /= NAME
    folder = target.parent
    alone = len(runs) == 1 and os.path.realpath(folder) == os.path.realpath(runs[0])
    if target.name == NAME and (folder / "run.json").exists() and not alone:
        raise UsageError(f"report: {target} is the page about that run alone", "name another file: --out FILE.html")
    return target
