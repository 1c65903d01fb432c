"""The commands that reproduce a run, from what its folder recorded."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from capivara_cli.pipeline.command_text import command_text
from capivara_cli.reports.page.read_run import Run

PLACEHOLDER = "SHARDS"


def train_command(run: Run, shards: str = PLACEHOLDER) -> str:
    """The command that trains a run. The path of its shards is not recorded."""
    seed = run.request.get("seed", 0)
    options = {key: value for key, value in run.request.items() if key != "seed"}
    options |= {"name": run.name, "seed": seed} if seed else {"name": run.name}
    return f"capivara {command_text('train', options, [shards])}"


def eval_command(runs: Sequence[Run], sets: Iterable[str] = (), langs: Iterable[str] = ()) -> str:
    """The command that evaluates runs together with their base model, so that a report has gains."""
    source = runs[0].document.get("base", {}).get("source", {})
    words = [*(str(run.path) for run in runs), *(list(sets) or ["EVAL_SET"])]
    words += ["--model", str(source.get("model") or runs[0].request.get("model", "MODEL"))]
    if source.get("pretrained"):
        words += ["--pretrained", str(source["pretrained"])]
    wanted = list(langs) or list(dict.fromkeys(["en", *runs[0].languages]))
    return f"capivara eval {shlex.join([*words, '--lang', ','.join(wanted)])}"
