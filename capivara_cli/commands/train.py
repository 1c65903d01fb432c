"""Train CLIP for a language: tune the text tower, with LoRA or another method, on image features computed once.

Give the same command again to resume a run. On several devices: torchrun --nproc-per-node 4 -m capivara_cli train …

Examples:
    capivara train shards --lang pt --name my-run
    capivara train shards --lang hi,xh --separately --steps 500 --lr 1e-4
    capivara train shards --lang pt --model toy --steps 20 --batch-size 64
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError, resumable
from capivara_cli.models.clip_files import DEFAULT_MODEL, check_model, check_name
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import COSTS, Settings
from capivara_cli.pipeline.source import Source
from capivara_cli.training.options import Options, contents

if TYPE_CHECKING:
    from capivara_cli.cli.dry_run.rehearsal import Rehearsal
    from capivara_cli.training.store import FeatureStore


def _runs(options: Options, env: Env) -> list[tuple[Options, RunDir, Settings]]:
    """The options, folder and settings of each run: one run per seed and, with --separately, per language.

    Raises ``CapivaraError`` when a folder contains anything but this run.
    """
    options.check()
    if options.idle_patience:
        console.warn(options.idle_patience)
    variants = [replace(options, lang=lang) for lang in options.languages] if options.separately else [options]
    runs = [
        (each, RunDir(_folder(each, env.settings.out, seed if options.seeds > 1 else None, len(variants) > 1)),
         replace(env.settings, seed=seed))
        for each in variants
        for seed in range(env.seed, env.seed + options.seeds)
    ]  # fmt: skip
    files = contents(options)
    for each, run, settings in runs:
        run.check_request({**each.request, "seed": settings.seed}, files, settings.overwrite)
    return runs


def _estimate(inputs: list[str], options: Options, env: Env, rehearsal: Rehearsal) -> dict[str, Any]:
    from capivara_cli.cli.dry_run import training

    runs = [training.PlannedRun(*each) for each in _runs(options, env)]
    rehearsal.check(lambda: _check_read(options, env))
    training.rehearse(runs, inputs, env, rehearsal)
    return training.planned_run(runs)


@command("train", Options, estimate=_estimate, settings=("out", "device", "seed", "overwrite", "max_failures", *COSTS))
def train(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Train on the shards or the stream; write a run folder, or one for each language and seed."""
    runs = _runs(options, env)
    source = Source(inputs, env)
    if not all(run.finished for _, run, _ in runs):
        _check_read(options, env)

    from capivara_cli.training.session import Session

    stores: dict[str, FeatureStore] = {}  # shared by all runs, because a stream can be read only once
    summaries: list[dict[str, Any]] = []
    for number, (each, run, settings) in enumerate(runs):
        with env.costs.steps.at(number), resumable(lambda: _finished(len(summaries), len(runs))):
            summary = Session(each, run, source, _env(settings, env), stores).run()
            if summary is not None:
                summaries.append(summary)
    if not summaries:
        sys.exit(0)  # of several processes, only the first reports
    if len(runs) == 1:
        return summaries[0]
    console.say(_over_runs(summaries))
    up_to_date = [each.pop("up_to_date", False) for each in summaries]
    return {**summaries[0], "runs": summaries, **({"up_to_date": True} if all(up_to_date) else {})}


def _finished(done: int, runs: int) -> str:
    return f"{done} of {runs} runs are finished" if done else ""


def _folder(options: Options, out: str, seed: int | None, several: bool) -> Path:
    """The folder of a run, such as ``runs/hi``. ``out`` (--out) is that folder, or the parent of several."""
    name = options.name or "-".join(options.languages)
    if options.name and several:
        name = f"{options.name}-{options.lang}"
    name = name if seed is None else f"{name}-seed{seed}"
    if out:
        return Path(out) / name if several or seed is not None else Path(out)
    return Path(options.runs) / name


def _check_read(options: Options, env: Env) -> None:
    """Raise ``CapivaraError`` for a model or validation data that cannot be read. Missing files are downloaded."""
    if options.selection.val and not options.selection.heldout:
        from capivara_cli.training.validation_source import validation_source

        for lang in options.languages:
            validation_source(options.selection.val, lang, Env(env.settings, "train --val"))
    if options.loss.teacher:
        check_name(options.loss.teacher)
    if options.continue_from:
        from capivara_cli.models.clip import find_adapter

        base = find_adapter(options.continue_from).base
        if options.model not in (DEFAULT_MODEL, base["model"]):
            raise CapivaraError(
                f"--model {options.model}: {options.continue_from} was trained on {base['model']}", "leave --model out"
            )
        check_model(base["model"], base["pretrained"])
    else:
        check_name(options.model, options.pretrained)
        check_model(options.model, options.pretrained)
    if options.loss.teacher:
        check_model(options.loss.teacher)


def _env(settings: Settings, env: Env) -> Env:
    """An environment with the settings of one run. It shares the counts, because all runs read the same samples."""
    own = Env(settings, env.step, costs=env.costs)
    own.tally = env.tally
    return own


def _over_runs(summaries: Sequence[dict[str, Any]]) -> str:
    """A line for each language: mean and sample standard deviation over its runs."""
    lines = []
    for lang in dict.fromkeys(each["lang"] for each in summaries):
        own = [each for each in summaries if each["lang"] == lang]
        parts = [f"loss {_spread([each['loss_last'] for each in own], 3)}"]
        if all(each.get("val") for each in own):
            parts.append(f"mean recall on held-out images {_spread([each['val']['mean'] for each in own], 1)}")
        lines.append(f"{lang}: {len(own)} run{'s' * (len(own) > 1)}, {', '.join(parts)}")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    import statistics  # 5 ms that --help does without

    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean
