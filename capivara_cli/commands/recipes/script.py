"""The command lines of a recipe for given images, and the checks before the first of them runs."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import languages
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.commands.recipes.recipe import HELDOUT, Recipe, RecipeStep, parse
from capivara_cli.languages import translators
from capivara_cli.models.clip_files import check_model, check_name
from capivara_cli.models.generation import Setup
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.inputs import find_shards
from capivara_cli.stages.split import position
from capivara_cli.training.options import contents


@dataclass(frozen=True)
class Script:
    """A recipe for given inputs. ``name``: the name of the run; ``runs``: the folder of all runs.

    ``captioned``: whether held-out images have captions. If not, the recipe's captioner writes them.
    """

    recipe: Recipe
    inputs: Sequence[str]
    name: str
    runs: str
    seed: int
    captioned: bool = True

    @property
    def lang(self) -> str:
        return languages.get(self.recipe.head.lang).code

    @property
    def run_folders(self) -> list[str]:
        seeds = self.recipe.head.seeds
        names = (
            [f"{self.name}-seed{each}" for each in range(self.seed, self.seed + seeds)] if seeds > 1 else [self.name]
        )
        return [str(Path(self.runs) / name) for name in names]

    @property
    def holds_out(self) -> bool:
        return HELDOUT in self.recipe.targets

    def lines(self) -> Iterator[list[str]]:
        """The command lines in order.

        First pack, unless the inputs are shards already. Then the plan, for the held-out images and for the rest; the
        training, once per seed; and the evaluation.
        """
        yield from self.packing()
        shards = self.shards
        plan = [step.words(self._values) for step in self.recipe.plan]
        if self.holds_out:
            fraction = ["--fraction", str(self.recipe.head.fraction)]
            heldout = [step.words(self._values) for step in self.recipe.plan if self._makes_queries(step)]
            split = ["split", "--part", HELDOUT, *fraction]
            yield ["run", _plan([split, *heldout]), *shards, "--out", self._data(HELDOUT)]
            plan.insert(0, ["split", "--part", "train", *fraction])
        if plan:
            yield ["run", _plan(plan), *shards, "--out", self._data("train")]
            shards = [self._data("train")]
        yield from self._training(shards)
        yield self._evaluation()

    def packing(self) -> list[list[str]]:
        """The command line that packs the inputs; [] if they are shards already."""
        return [] if self._packed else [["pack", *self.inputs, "--out", self._data("packed")]]

    @property
    def shards(self) -> list[str]:
        """The shards with all images: the inputs, or what they are packed into."""
        return list(self.inputs) if self._packed else [self._data("packed")]

    @functools.cached_property
    def _packed(self) -> bool:
        return all(_is_packed(text) for text in self.inputs)

    def is_held_out(self, key: str) -> bool:
        """Whether the image with this key is held out."""
        return position(key, self.seed) < self.recipe.head.fraction

    @property
    def _values(self) -> dict[str, str]:
        head = self.recipe.head
        return {"lang": self.lang, "model": head.model, "pretrained": head.pretrained}

    def _data(self, folder: str) -> str:
        return str(Path(self.runs) / f"{self.name}-data" / folder)

    def _makes_queries(self, step: RecipeStep) -> bool:
        """Whether the held-out captions need a step too.

        They need the translation into the language of the run and, if there are no captions, the captioner.
        """
        if step.command == "caption":
            return not self.captioned
        if step.command != "translate":
            return False
        return self.lang in parse(step.words(self._values), "translate").targets

    @property
    def _model(self) -> list[str]:
        head = self.recipe.head
        return ["--model", head.model, *(["--pretrained", head.pretrained] if head.pretrained else [])]

    def _training(self, shards: Sequence[str]) -> Iterator[list[str]]:
        command, *options = self.recipe.train.words(self._values)
        for number, folder in enumerate(self.run_folders):
            where = ["--name", Path(folder).name, "--runs", self.runs, "--seed", str(self.seed + number)]
            yield [command, *shards, "--lang", self.lang, *self._model, *options, *where]

    def _evaluation(self) -> list[str]:
        command, *options = self.recipe.eval.words(self._values)
        sets = [self._data(HELDOUT) if name == HELDOUT else name for name in self.recipe.targets]
        langs = [] if "--lang" in options else ["--lang", ",".join(dict.fromkeys(["en", self.lang]))]
        return [command, *self.run_folders, *sets, *self._model, *options, *langs]

    def check(self, overwrite: bool = False) -> None:
        """Raise ``CapivaraError`` for every problem that can be found before the work begins."""
        languages.get(self.recipe.head.lang)
        for words in self.lines():
            options = parse(words, f"adapt: {words[0]}")
            steps = parse_plan(words[1]) if words[0] == "run" else []
            for step in steps:
                step.stage.check(step.options)
            if hasattr(options, "check"):
                options.check()
        self._check_runs(overwrite)
        self._check_model()
        self._check_targets()
        self._check_translators()

    def _check_runs(self, overwrite: bool) -> None:
        for number, words in enumerate(self._training(())):
            options = parse(words, "adapt: train")
            run = RunDir(Path(self.runs) / options.name)
            run.check_request({**options.request, "seed": self.seed + number}, contents(options), overwrite)

    def _check_model(self) -> None:
        head = self.recipe.head
        check_name(head.model, head.pretrained)
        check_model(head.model, head.pretrained)

    def check_data(self) -> None:
        """Open the eval sets, which come last; raise ``CapivaraError`` for missing ones. Some are downloaded."""
        from capivara_cli.commands.eval import open_targets

        open_targets(self._targets, parse(self._evaluation(), "adapt: eval"), Env(Settings(quiet=True), "adapt"))

    @property
    def _targets(self) -> list[str]:
        """What is evaluated on, without the held-out images."""
        return [target for target in self.recipe.targets if target != HELDOUT]

    def _check_targets(self) -> None:
        from capivara_cli.commands.eval import sort_targets

        find_shards(sort_targets(self._targets, str(self.recipe.eval.given.get("labels", ""))).shards)

    def _check_translators(self) -> None:
        """Load the translators, which come late in a plan, to see whether they know the languages."""
        for step in self._steps("translate"):
            options: Any = step.options
            source = options.source
            for target in options.targets if source else []:
                spec = f"argos:{options.package}" if options.package else options.translator
                setup = Setup("cpu", base_url=options.base_url)
                translators.load(spec, source=source, target=target, setup=setup)

    def _steps(self, name: str) -> list[Step]:
        plan = _plan([step.words(self._values) for step in self.recipe.plan if step.command == name])
        return parse_plan(plan) if plan else []


def _plan(steps: Sequence[Sequence[str]]) -> str:
    return " | ".join(shlex.join(step) for step in steps)


def _is_packed(text: str) -> bool:
    """Whether an input is shards in capivara's form. Remote shards are assumed to be."""
    from capivara_cli.stages.pack import is_packed

    path = Path(text)
    return is_packed(path) if path.exists() else ".tar" in text
