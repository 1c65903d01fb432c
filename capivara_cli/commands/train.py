"""Train CLIP for a language: tune the text tower, with LoRA or another method, on image features computed once.

Give the same command again to resume a run. On several devices: torchrun --nproc-per-node 4 -m capivara_cli train …
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip_files import DEFAULT_MODEL, check_model
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
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
    rehearsal.check(lambda: _check_models(options))
    training.rehearse(runs, inputs, env, rehearsal)
    return training.planned_run(runs)


@command("train", Options, estimate=_estimate)
def train(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Train on the shards or the stream; write a run folder, or one for each language and seed."""
    runs = _runs(options, env)
    if not all(run.finished for _, run, _ in runs):
        _check_models(options)

    from capivara_cli.training.session import Session

    source = Source(inputs, env)
    stores: dict[str, FeatureStore] = {}  # shared by all runs, because a stream can be read only once
    summaries: list[dict[str, Any]] = []
    for number, (each, run, settings) in enumerate(runs):
        with env.costs.steps.at(number):
            summary = Session(each, run, source, _env(settings, env), stores).run()
            summaries += [summary] if summary is not None else []
    if not summaries:
        sys.exit(0)  # of several processes, only the first reports
    if len(runs) == 1:
        return summaries[0]
    console.say(_over_runs(summaries))
    up_to_date = [each.pop("up_to_date", False) for each in summaries]
    return {**summaries[0], "runs": summaries, **({"up_to_date": True} if all(up_to_date) else {})}


def _folder(options: Options, out: str, seed: int | None, several: bool) -> Path:
    """The folder of a run, such as ``runs/hi``. ``out`` (--out) is that folder, or the parent of several."""
    name = options.name or "-".join(options.languages)
    if options.name and several:
        name = f"{options.name}-{options.lang}"
    name = name if seed is None else f"{name}-seed{seed}"
    if out:
        return Path(out) / name if several or seed is not None else Path(out)
    return Path(options.runs) / name


def _check_models(options: Options) -> None:
    if options.continue_from:
        from capivara_cli.models.clip import find_adapter

        base = find_adapter(options.continue_from).base
        if options.model not in (DEFAULT_MODEL, base["model"]):
            raise CapivaraError(
                f"--model {options.model}: {options.continue_from} was trained on {base['model']}", "leave --model out"
            )
        check_model(base["model"], base["pretrained"])
    else:
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
