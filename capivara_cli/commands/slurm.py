"""Print a Slurm array script for a plan: capivara slurm 'caption | translate --lang pt' shards --out done --array 8

Each task of the array makes its share of the shards. Submit it with sbatch; a task that was lost is submitted again by
itself (sbatch --array=3 SCRIPT), and capivara status DIR shows how far all of them are.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import Any

from capivara_cli import console
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, flag_of, opt
from capivara_cli.shards.inputs import find_shards

_NOT_FOR_TASKS = {"share", "summary", "engine", "address", "gpus_per_worker"}


@dataclass(frozen=True)
class Options:
    array: int = opt(1, "tasks that share the shards", min=1)
    at_once: int = opt(0, "tasks that run at the same time [default: all]", min=0)
    gpus: int = opt(0, "GPUs for each task; with several, give --workers, too", min=0)
    cpus: int = opt(4, "cores for each task", min=1)
    memory: str = opt("", "memory for each task, as Slurm writes it: 32G")
    time: str = opt("", "time limit, as Slurm writes it: 12:00:00 [default: the partition's]")
    partition: str = opt("", "the partition")
    account: str = opt("", "the account that pays")
    setup: str = opt("", "a line of shell to run before: 'module load cuda; source venv/bin/activate'")


@command("slurm", Options, "PLAN INPUT")
def slurm(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Check the plan and the shards here and now, and print the script."""
    if not inputs:
        raise UsageError("slurm: what is the plan?", "capivara slurm 'caption --n 3' shards --out done --array 8")
    if not env.settings.out:
        raise UsageError("slurm: where to?", "name a folder that all nodes see: --out DIR")
    steps = parse_plan(inputs[0])
    for step in steps:
        step.stage.check(step.options)
    if steps[0].stage.begins:
        raise UsageError(f"slurm: {steps[0].name} makes shards and cannot be shared", "run it first, then the rest")
    sources = inputs[1:] or ["shards"]
    shards = find_shards(sources)
    tasks = min(options.array, len(shards))
    if tasks < options.array:
        console.warn(f"--array {options.array}: there are only {len(shards)} shards to share")
    text = script([inputs[0], *sources], "-".join(step.name for step in steps), tasks, options, env.settings)
    if not env.json:
        console.page(text)
    return {"script": text, "tasks": tasks, "shards": len(shards)}


def script(words: list[str], name: str, tasks: int, options: Options, settings: Settings) -> str:
    """The script: ``words`` are the plan and its inputs."""
    limit = f"%{options.at_once}" if options.at_once else ""
    wanted = {
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
        f"#SBATCH --{flag}" + ("" if value is None else f"={value}") for flag, value in wanted.items() if value != ""
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


def _flags(settings: Settings) -> list[str]:
    """The shared options that were given, as they are typed."""
    words: list[str] = []
    for each in fields(Settings):
        value = getattr(settings, each.name)
        if each.name in _NOT_FOR_TASKS or value == each.default:
            continue
        flag = flag_of(each.name)
        words += [flag if value else flag.replace("--", "--no-", 1)] if isinstance(value, bool) else [flag, str(value)]
    return words
