"""Run several stages in one process.

It writes the same bytes as the stages in a pipe, and loads each model once. With --out it can be stopped and resumed.

Arguments:
    PLAN: stages with their options, as in a pipe, in quotation marks
    INPUT: shards: folders, .tar files, patterns, URLs; -: standard input; without any, shards/ or the pipe

Examples:
    capivara run 'caption --captioner toy | translate --translator toy --lang pt' shards --out done
    capivara run 'split --part heldout | dedupe' shards --out heldout --workers 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import UsageError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Step

if TYPE_CHECKING:
    from capivara_cli.cli.dry_run.rehearsal import Rehearsal


@dataclass(frozen=True)
class Options:
    """No options: those of the stages are in the plan."""


def _plan(inputs: list[str]) -> list[Step]:
    if not inputs:
        raise UsageError("run: which plan?", "capivara run 'caption --n 3 | translate --lang pt' shards/ --out done")
    from capivara_cli.cli.parameters import parse_plan  # imports Typer, which --help does without

    return parse_plan(inputs[0])


def _estimate(inputs: list[str], options: Options, env: Env, rehearsal: Rehearsal) -> dict[str, Any]:
    from capivara_cli.cli.dry_run import plans

    return plans.rehearse(_plan(inputs), inputs[1:], env.settings, rehearsal, streams=env.data is not None)


@command("run", Options, "PLAN INPUT", streams=True, estimate=_estimate)
def run(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Run the plan, which is the first argument, over the inputs that follow it."""
    return engine.run(_plan(inputs), inputs[1:], env.settings, env.data, env.costs).summary()
