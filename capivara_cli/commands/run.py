"""Run a plan of several stages in one process: capivara run 'caption --n 3 | translate --lang pt' shards/

The same bytes as the pipe, with the models loaded once, and with --out a folder that can be killed and gone on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from capivara_cli import engine
from capivara_cli.command import command
from capivara_cli.errors import UsageError
from capivara_cli.options import parse_plan
from capivara_cli.stage import Env


@dataclass(frozen=True)
class Options:
    """None: every option is in the plan."""


@command("run", Options, "PLAN INPUT", streams=True)
def run(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Run the plan that is the first argument over the inputs that follow it."""
    if not inputs:
        raise UsageError(
            "run: what is the plan?", "capivara run 'caption --n 3 | translate --lang pt' shards/ --out done"
        )
    return engine.run(parse_plan(inputs[0]), inputs[1:], env.settings, env.data).summary()
