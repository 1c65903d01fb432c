"""See the whole method at work in the toy world, in minutes and without a download.

The toy world is a miniature for tests and demonstrations: drawn scenes, and small models that were trained on them. It
says nothing about real photos.

Examples:
    capivara demo
    capivara demo --lang hi --scenes 400 --seeds 1
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capivara_cli import console
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages
from capivara_cli.pipeline.options import COSTS, RESULTS, opt, parsed

if TYPE_CHECKING:
    from capivara_cli.cli.dry_run.rehearsal import Rehearsal

WORLD = (
    "--captioner toy --n 2 --translator toy --model toy --top-k 2 --steps 150 --batch-size 96 --lr 1e-2 --warmup 10 "
    "--eval toy --eval-lang en,pt,hi,xh"
)
"""The options of ``adapt`` for the toy world: chosen by trial, small for speed."""


@dataclass(frozen=True)
class Options:
    lang: str = opt("pt", "language to train for: pt, hi or xh", kind=Languages(one=True, known=("pt", "hi", "xh")))
    scenes: int = opt(1600, "drawn scenes to train on", min=100)
    seeds: int = opt(3, "runs that differ in the seed only", min=1)
    name: str = opt("", "name of the run [default: demo-<lang>]", panel=RESULTS)
    runs: str = opt("runs", "folder of all runs", panel=RESULTS, metavar="DIR")


def _line(options: Options) -> list[str]:
    lang = parsed(options, "lang")[0]
    name = options.name or f"demo-{lang}"
    words = ["adapt", f"toy:{options.scenes}", "--lang", lang, *shlex.split(WORLD)]
    return [*words, "--seeds", str(options.seeds), "--name", name, "--runs", options.runs]


def _estimate(inputs: list[str], options: Options, env: Env, rehearsal: Rehearsal) -> dict[str, Any]:
    return env.perform(_line(options), env.settings)


@command(
    "demo",
    Options,
    "",
    composed=True,
    estimate=_estimate,
    settings=("out", "device", "seed", "overwrite", "workers", *COSTS),
)
def demo(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Run ``adapt`` on drawn scenes with noisy English captions; evaluate on held-out scenes."""
    console.say("The toy world: drawn scenes and small models, a miniature that says nothing about real photos.\n")
    found = env.perform(_line(options), env.settings)
    console.say("")
    console.hint(f"a page about the runs: capivara report {shlex.join(found['runs'])}")
    console.hint("your own images: capivara adapt PHOTOS --lang …")
    return found
