"""Run the whole method, from photos or shards to a tuned and evaluated model.

It runs pack, caption, translate, filter, dedupe, train and eval, and adds up their footprints. It prints each command
first, so that you can continue by hand from any of them. If it is stopped, run it again: it resumes. --recipe names
another method (capivara list recipes) or a file of yours. The other options override those of the recipe.

Arguments:
    PHOTOS_OR_SHARDS: photos in any form that pack reads, shards, or toy:N for scenes of the toy world

Examples:
    capivara adapt photos --lang pt
    capivara adapt photos --recipe capivara-opt-hi --dry-run
    capivara adapt toy:600 --lang hi --captioner toy --translator toy --model toy --eval toy --steps 50
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import console, languages
from capivara_cli.commands.recipes import recipe as recipes
from capivara_cli.commands.recipes.recipe import DEFAULT, Recipe
from capivara_cli.costs import ledger
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names, Words
from capivara_cli.pipeline.options import COSTS, MODEL, RESULTS, SHARDING, Settings, flag_of, opt, parsed

if TYPE_CHECKING:
    from capivara_cli.cli.dry_run.rehearsal import Rehearsal
    from capivara_cli.commands.recipes.script import Script

_DATA, _TRAINING, _EVALUATION = "Captions", "Training", "Evaluation"
_HEAD = ("lang", "model", "pretrained", "fraction", "seeds")
_OF_STEPS = {
    "captioner": ("caption", "captioner"),
    "n": ("caption", "n"),
    "rewriter": ("rewrite", "rewriter"),
    "translator": ("translate", "translator"),
    "top_k": ("filter", "top-k"),
    "min_score": ("filter", "min-score"),
    "steps": ("train", "steps"),
    "batch_size": ("train", "batch-size"),
    "lr": ("train", "lr"),
    "warmup": ("train", "warmup"),
    "eval": ("eval", recipes.TARGETS),
    "eval_lang": ("eval", "lang"),
}
"""Each option that belongs to a step of the recipe -> the command of that step, and the option there."""


@dataclass(frozen=True)
class Options:
    recipe: str = opt(DEFAULT, "the method: a name or a .toml file", reads="files", metavar="NAME", completes="recipes")
    lang: str = opt("", "language to train for: pt, hi, xh … [default: the recipe's]", kind=Languages(one=True))
    name: str = opt("", "name of the run [default: the language, after the recipe's name]", panel=RESULTS)
    runs: str = opt("runs", "folder of all runs", panel=RESULTS, metavar="DIR")
    model: str = opt("", "CLIP model to adapt [default: the recipe's]", reads="model", panel=MODEL)
    pretrained: str = opt("", "open_clip weights of --model [default: the recipe's]", reads="model", panel=MODEL)
    captioner: str = opt(
        "", "captioner [default: the recipe's: blip2]", reads="captioners", panel=MODEL, metavar="NAME"
    )
    n: int | None = opt(None, "captions per image [default: the recipe's: 10]", min=1, panel=_DATA)
    rewriter: str = opt(
        "", "for recipes that rewrite captions [default: the recipe's]", reads="rewriters", panel=MODEL, metavar="NAME"
    )
    translator: str = opt(
        "", "translator [default: the recipe's: argos]", reads="translators", panel=MODEL, metavar="NAME"
    )
    top_k: int | None = opt(
        None, "keep the N best captions of an image; 0: all [default: the recipe's: 5]", min=0, panel=_DATA
    )
    min_score: float | None = opt(
        None, "drop captions with a lower score [default: the recipe's: none]", min=-1.0, max=1.0, panel=_DATA
    )
    steps: int | None = opt(None, "training steps [default: the recipe's: 1500]", min=1, panel=_TRAINING)
    batch_size: int | None = opt(
        None, "image-text pairs per step [default: the recipe's: 1000]", min=2, panel=_TRAINING
    )
    lr: float | None = opt(None, "highest learning rate [default: the recipe's: 1e-5]", min=0.0, panel=_TRAINING)
    warmup: int | None = opt(
        None, "steps until the highest learning rate [default: the recipe's: 250]", min=0, panel=_TRAINING
    )
    seeds: int | None = opt(
        None, "runs that differ in the seed only [default: the recipe's: 1]", min=1, panel=_TRAINING
    )
    eval: str = opt(
        "", "eval sets; heldout: a part of your own images [default: the recipe's]", kind=Names(), reads="files",
        panel=_EVALUATION, metavar="SETS", completes="evalsets",
    )  # fmt: skip
    eval_lang: str = opt(
        "", "languages to evaluate [default: the recipe's, or en and --lang]", kind=Languages("all"), panel=_EVALUATION
    )
    fraction: float | None = opt(
        None, "share of the images that is held out [default: the recipe's: 0.1]", min=0.0, max=0.9, panel=_EVALUATION
    )
    set: str = opt("", "other options: 'train.peft=lit caption.beams=4'", metavar="STEP.OPTION=VALUE", kind=Words())


def _script(inputs: list[str], options: Options, env: Env) -> Script:
    """The command lines for these images. Raises ``UsageError`` when no language or no images are named."""
    from capivara_cli.commands.recipes.script import Script  # imports Typer, which --help does without

    recipe = chosen_recipe(options)
    if not recipe.head.lang:
        raise UsageError("adapt: which language? --lang pt", "capivara list languages shows all")
    inputs = inputs or [*recipe.head.input]
    if not inputs:
        what = recipe.head.data or "capivara adapt photos/captions.csv --lang pt; shards/ and toy are possible too"
        raise UsageError("adapt: which images?", what)
    runs = env.settings.out or options.runs  # --out of adapt is not that of the commands it runs
    return Script(recipe, inputs, options.name or _name(recipe), runs, env.seed)


def _estimate(inputs: list[str], options: Options, env: Env, rehearsal: Rehearsal) -> dict[str, Any]:
    script, settings = _script(inputs, options, env), replace(env.settings, out="")
    rehearsal.check(lambda: script.check(settings.overwrite))
    for words in script.lines():
        env.perform(words, settings)
    return {"run": script.run_folders[0], "runs": script.run_folders}


_SHARED = (
    "out",
    "device",
    "seed",
    "max_failures",
    "overwrite",
    *(name for name in SHARDING if name != "share"),
    *COSTS,
)
"""The shared options: most are handed to the commands. The steps need all shards, so there is no ``--share``."""


@command("adapt", Options, "PHOTOS_OR_SHARDS", composed=True, estimate=_estimate, settings=_SHARED)
def adapt(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Run all commands of the recipe; return the run folders, the results, and the footprint of the whole chain."""
    script, settings = _script(inputs, options, env), replace(env.settings, out="")
    script.check(settings.overwrite)
    script.check_data()

    from capivara_cli.evaluation.results import EvalResults
    from capivara_cli.reports.tables import before_after
    from capivara_cli.reports.tables.table import doubtful_sets
    from capivara_cli.storage.typed_json import to_json

    script = _packed(script, settings, env)
    *work, evaluation = script.lines()
    for words in work[len(script.packing()) :]:
        env.perform(words, settings)
    console.say(f"$ capivara {shlex.join(evaluation)}")
    with console.quiet():  # the table below is shorter than one table per run
        results = EvalResults.from_json(env.perform(evaluation, settings))
    stages, total = ledger.sums(ledger.unique(each for run in script.run_folders for each in ledger.read(Path(run))))
    console.say("\n" + before_after.text(results, script.lang) + "\n")
    for warning in doubtful_sets(results.retrieval):
        console.warn(warning)
    console.say(cost_line(stages, total))
    return {
        "run": script.run_folders[0],
        "runs": script.run_folders,
        "before_and_after": to_json(before_after.changes(results)),
        "disparity": to_json(before_after.spread_changes(results)),
        "footprint": total,
        "stages": stages,
    }


def _packed(script: Script, settings: Settings, env: Env) -> Script:
    """Pack the photos; return the script for them, in which held-out images are captioned if none has a caption.

    Raises ``CapivaraError`` if a run was trained on other photos, and if there are no captions to evaluate on.
    """
    from capivara_cli.commands.recipes import photos

    for words in script.packing():
        if not settings.overwrite:
            photos.remove_outdated(words, settings, script.run_folders)
        env.perform(words, settings)
    if not script.holds_out or photos.has_captions(script.shards, script.is_held_out):
        return script
    captioning = [step for step in script.recipe.plan if step.command == "caption"]
    if not captioning:
        raise CapivaraError(
            f"{', '.join(script.inputs)}: the held-out images have no captions, and recipe {script.recipe.name} writes "
            "none",
            "evaluate on a set with captions: --eval SET (capivara list evalsets)",
        )
    captioner = captioning[0].given.get("captioner", "the captioner")
    console.warn(
        f"the held-out images have no captions, so {captioner} writes some: the results say how well a model agrees "
        "with it, not with people",
        "--eval SET evaluates on captions of people",
    )
    return replace(script, captioned=False)


def chosen_recipe(options: Options) -> Recipe:
    """The recipe with the options of the command line. Raises ``UsageError`` for an option that the recipe lacks."""
    recipe = recipes.load(options.recipe)
    head = {name: value for name in _HEAD if (value := getattr(options, name)) not in ("", None)}
    recipe = recipe.with_head(**head)
    for name, (step, key) in _OF_STEPS.items():
        value = getattr(options, name)
        if value not in ("", None):
            recipe = recipe.with_option(step, key, value, flag_of(name))
    for step, key, value in recipes.settings_in(parsed(options, "set")):
        recipe = recipe.with_option(step, key, value, f"--set {step}.{key}")
    return recipe


def _name(recipe: Recipe) -> str:
    """The name of the run: the language, after the name of the recipe unless that is the default one."""
    code = languages.get(recipe.head.lang).code
    return code if recipe.name == DEFAULT else "-".join(dict.fromkeys([*recipe.name.split("-"), code]))


def cost_line(stages: Sequence[ledger.CostSum], total: ledger.CostSum) -> str:
    """A line with the cost of the whole chain, and the energy of each stage."""
    shares = ", ".join(f"{each['stage']} {each['kwh'] * 1000:.2g}" for each in stages)
    return (
        f"cost of the whole chain: {console.duration(total['seconds'])}, {total['kwh'] * 1000:.2g} Wh, "
        f"{total['co2e_g']:.2g} g CO2e ({shares} Wh)"
    )
