"""Print a Slurm array script for a plan.

Each task of the array processes its share of the shards. Submit the script with sbatch. To repeat one
task, such as number 3: sbatch --array=3 SCRIPT. capivara status DIR shows the progress of all tasks.

Arguments:
    PLAN: stages with their options, as in a pipe, in quotation marks
    INPUT: shards that all nodes see: folders, .tar files, patterns, URLs; without any, shards/

Examples:
    capivara slurm 'caption | translate --lang pt' shards --out done --array 8
    capivara slurm 'filter --top-k 5' shards --out best --array 4 --gpus 1 --time 12:00:00
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.engine import check_not_input
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, flag_of, opt, option_values
from capivara_cli.pipeline.source import packed_shards
from capivara_cli.shards.inputs import find_shards
from capivara_cli.urls import is_url

_NOT_FOR_TASKS = {"share", "summary", "engine", "address", "gpus_per_worker"}
"""Shared options that the script leaves out: they make no sense for a task, or the script sets them."""

_TASK = "Each task"
_DIRECTIVES = ("memory", "time", "partition", "account")
"""The options that become #SBATCH lines as they are. Slurm splits such a line into words."""
_NO_PART_OF_A_LINE = ("Cc", "Zl", "Zp")
"""The Unicode categories of control characters and line breaks."""


@dataclass(frozen=True)
class Options:
    array: int = opt(1, "tasks that share the shards", min=1)
    at_once: int = opt(0, "tasks that run at the same time; 0: all", min=0)
    gpus: int = opt(0, "GPUs for each task; for several, also give --workers", min=0, panel=_TASK)
    cpus: int = opt(4, "processor cores for each task", min=1, panel=_TASK)
    memory: str = opt("", "memory for each task, such as 32G [default: the partition's]", panel=_TASK)
    time: str = opt("", "time limit, such as 12:00:00 [default: the partition's]", panel=_TASK)
    partition: str = opt("", "partition to submit to [default: the cluster's]")
    account: str = opt("", "account that is charged [default: yours]")
    setup: str = opt("", "shell line to run first: 'module load cuda'", metavar="LINE", panel=_TASK)


_SHARED = tuple(each.name for each in fields(Settings) if each.name not in {*_NOT_FOR_TASKS, "dry_run"})


@command("slurm", Options, "PLAN INPUT", settings=_SHARED)
def slurm(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Check the plan and the shards on this machine, then print the script."""
    from capivara_cli.cli.parameters import parse_plan  # imports Typer, which --help does without

    if not inputs:
        raise UsageError("slurm: which plan?", "capivara slurm 'caption --n 3' shards --out done --array 8")
    if not env.settings.out:
        raise UsageError("slurm: --out is missing", "name a folder that all nodes see: --out DIR")
    _check_one_line(inputs, option_values(options) | option_values(env.settings))
    steps = parse_plan(inputs[0])
    for step in steps:
        step.stage.check(step.options)
    if steps[0].stage.begins:
        raise UsageError(f"slurm: tasks cannot share {steps[0].name}, which makes shards", "run it first, by itself")
    sources = inputs[1:] or ["shards"]
    shards = packed_shards(sources) if any(step.stage.reads_captions for step in steps) else find_shards(sources)
    if not is_url(env.settings.out):
        check_not_input(Path(env.settings.out), shards)
    tasks = min(options.array, len(shards))
    if tasks < options.array:
        console.warn(f"--array {options.array}: only {len(shards)} tasks, because there are {len(shards)} shards")
    text = script([inputs[0], *sources], "-".join(step.name for step in steps), tasks, options, env.settings)
    if not env.json:
        console.print_result(text)
    return {"script": text, "tasks": tasks, "shards": len(shards)}


def script(words: list[str], name: str, tasks: int, options: Options, settings: Settings) -> str:
    """The text of the script. ``words``: plan and inputs; ``name``: that of the job; ``tasks``: size of the array."""
    limit = f"%{options.at_once}" if options.at_once else ""
    directives = {
        "job-name": f"capivara-{name}"[:60],
        "array": f"0-{tasks - 1}{limit}",
        "ntasks": 1,
        "cpus-per-task": options.cpus,
        "gres": f"gpu:{options.gpus}" if options.gpus else "",
        "mem": options.memory,
        "time": options.time,
        "partition": options.partition,
        "account": options.account,
        "output": "capivara-%A_%a.log",
        "signal": "B:TERM@60",
        "requeue": None,
    }
    head = [
        f"#SBATCH --{flag}" + ("" if value is None else f"={value}")
        for flag, value in directives.items()
        if value != ""
    ]
    run = ["capivara", "run", *words, *_flags(settings)]
    share = f"--share $((SLURM_ARRAY_TASK_ID + 1))/{tasks}"
    return "\n".join(
        [
            "#!/bin/bash",
            *head,
            "",
            "set -e",
            *([options.setup] if options.setup else []),
            f"export OMP_NUM_THREADS={max(1, options.cpus // settings.workers)}",
            f"exec {shlex.join(run)} {share}",
            "",
        ]
    )


def _check_one_line(words: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for a text that would be more than its part of one line of the script.

    ``words``: plan and inputs; ``values``: the options by name.
    """
    named = [("the plan" if number == 0 else "an input", word) for number, word in enumerate(words)]
    named += [(flag_of(name), value) for name, value in values.items() if isinstance(value, str)]
    for what, text in named:
        if any(unicodedata.category(char) in _NO_PART_OF_A_LINE for char in text):
            hint = "separate commands with ;" if what == "--setup" else "write it in one line"
            raise UsageError(f"slurm: {what} {text!r}: has a line break or another control character", hint)
    for name in _DIRECTIVES:
        if re.search(r"[\s\"'#\\]", values[name]):
            raise UsageError(f"slurm: {flag_of(name)} {values[name]!r}: must be one word, as Slurm writes it")


def _flags(settings: Settings) -> list[str]:
    """The shared options that differ from their defaults, as words of a command line."""
    words: list[str] = []
    for each in fields(Settings):
        value = getattr(settings, each.name)
        if each.name in _NOT_FOR_TASKS or value == each.default:
            continue
        flag = flag_of(each.name)
        words += [flag if value else flag.replace("--", "--no-", 1)] if isinstance(value, bool) else [flag, str(value)]
    return words
