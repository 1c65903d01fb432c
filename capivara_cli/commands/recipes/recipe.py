"""A recipe: the stages of a plan, the training and the evaluation, each with its options, read from a TOML file.

At the top of the file are the options of the whole recipe (``Head``). A ``[[plan]]`` table for each stage follows, in
order; ``step`` names the stage. Then come ``[train]`` and ``[eval]``. Keys are flags without their dashes. ``{lang}``,
``{model}`` and ``{pretrained}`` in a value are replaced by the values at the top or on the command line.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.models.clip_files import DEFAULT_MODEL
from capivara_cli.pipeline.option_kinds import Names
from capivara_cli.pipeline.options import Settings, check_options, flag_of, opt, option_fields, option_types
from capivara_cli.pipeline.stage import Stage
from capivara_cli.registry import load_command, recipes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = "default"
HELDOUT = "heldout"
TARGETS = "targets"
"""The key of ``[eval]`` for eval sets and shards, which are arguments of the command, not options."""
_AT_THE_TOP = {
    "train": ("lang", "model", "pretrained", "name", "runs", "seeds", "separately"),
    "eval": ("model", "pretrained"),
}
"""Options that are not allowed in ``[train]`` and ``[eval]``: the head of the recipe or ``adapt`` sets them."""


@dataclass(frozen=True)
class Head:
    """The top of a recipe. ``data`` says to people which images the recipe is for."""

    about: str = opt("", "what the recipe is, in one line")
    data: str = opt("", "which images it is for, and where to get them")
    input: tuple[str, ...] = opt((), "photos or shards, if the command line names none")
    lang: str = opt("", "language to train for")
    model: str = opt(DEFAULT_MODEL, "CLIP model to adapt")
    pretrained: str = opt("", "weights of that model")
    fraction: float = opt(0.1, "share of the images that is held out", min=0.0, max=0.9)
    seeds: int = opt(1, "number of runs that differ in the seed only", min=1)


@dataclass(frozen=True)
class RecipeStep:
    """One command and the options that a recipe gives it; keys are flags without dashes."""

    command: str
    given: Mapping[str, Any]

    def words(self, values: Mapping[str, str]) -> list[str]:
        """The command line, with ``{name}`` replaced by ``values[name]``."""
        words = [self.command]
        for key, value in self.given.items():
            if key != TARGETS:
                words += _words(key, value, _field(self.command, key), values)
        return words

    def changed(self, changes: Mapping[str, Any]) -> RecipeStep:
        return replace(self, given={**self.given, **changes})


@dataclass(frozen=True)
class Recipe:
    """One recipe. ``name``: its name in ``--recipe``; ``file``: its file, for error messages."""

    name: str
    file: str
    head: Head
    plan: tuple[RecipeStep, ...]
    train: RecipeStep
    eval: RecipeStep

    @property
    def targets(self) -> tuple[str, ...]:
        """The eval sets and shards to evaluate on; ``HELDOUT`` stands for the held-out images."""
        targets: tuple[str, ...] = self.eval.given.get(TARGETS, (HELDOUT,))
        return targets

    @property
    def steps(self) -> tuple[RecipeStep, ...]:
        return (*self.plan, self.train, self.eval)

    def with_head(self, **changes: Any) -> Recipe:
        return replace(self, head=replace(self.head, **changes))

    def with_option(self, command: str, key: str, value: Any, flag: str) -> Recipe:
        """The recipe with one option changed in every step ``command``. ``flag``: the option as typed, for errors.

        Raises ``UsageError`` if the recipe has no such step, the step no such option, or the value is impossible.
        """
        if command not in {step.command for step in self.steps}:
            commands = ", ".join(dict.fromkeys(step.command for step in self.steps))
            raise UsageError(f"{flag}: recipe {self.name} has no {command}", f"it has {commands}")
        _check_key(command, key, flag, UsageError)
        if key == TARGETS:
            value = _targets(value, flag, UsageError)
        elif isinstance(value, str) and _is_flag(command, key):
            if value not in ("true", "false"):
                raise UsageError(f"{flag}={value}: must be true or false")
            value = value == "true"
        plan = tuple(step.changed({key: value}) if step.command == command else step for step in self.plan)
        changed = {each: getattr(self, each).changed({key: value}) for each in ("train", "eval") if each == command}
        return replace(self, plan=plan, **changed)


def load(spec: str) -> Recipe:
    """A recipe of capivara by its name, or another one by its file.

    Raises ``CapivaraError`` that names the file and the key, for an unknown recipe and for wrong content.
    """
    own = recipes()
    if spec in own:
        return _read(Path(own[spec]), f"{spec}.toml")
    if not spec.endswith(".toml") and not Path(spec).is_file():
        raise unknown("recipe", spec, own, "--recipe takes one of them, or a .toml file; capivara list recipes")
    return _read(Path(spec), spec)


def _read(path: Path, shown: str) -> Recipe:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CapivaraError(f"{shown}: no such file", f"a recipe is a .toml file, or {', '.join(recipes())}") from None
    except ValueError as error:  # not TOML, not UTF-8
        raise CapivaraError(f"{shown}: not TOML: {error}", f"an example: {recipes()[DEFAULT]}") from error
    plan, train, evaluate = found.pop("plan", []), found.pop("train", {}), found.pop("eval", {})
    if not isinstance(plan, list) or not all(isinstance(each, dict) for each in plan):
        raise CapivaraError(f"{shown}: plan: must be a [[plan]] table for each step", '[[plan]]\nstep = "caption"')
    if not isinstance(train, dict) or not isinstance(evaluate, dict):
        raise CapivaraError(f"{shown}: train and eval must be tables", "[train]\nsteps = 1500")
    recipe = Recipe(
        path.stem,
        shown,
        _head(found, shown),
        tuple(_step(each, f"{shown}: [[plan]] {number}") for number, each in enumerate(plan, start=1)),
        _checked_step("train", train, f"{shown}: [train]"),
        _checked_step("eval", evaluate, f"{shown}: [eval]"),
    )
    values = {"lang": recipe.head.lang or "pt", "model": recipe.head.model, "pretrained": recipe.head.pretrained}
    for step in recipe.steps:
        parse(step.words(values), f"{shown}: {step.command}")
    return recipe


def parse(words: Sequence[str], where: str) -> Any:
    """The options of a command line, checked. Errors begin with ``where``."""
    try:
        from capivara_cli.cli.parameters import parse_command  # imports Typer, which --help does without

        return parse_command(words, Settings()).options
    except CapivaraError as error:
        problem = error.message.removeprefix(f"{words[0]}: ")
        raise type(error)(f"{where}: {problem}", error.hint) from error


def _head(found: dict[str, Any], shown: str) -> Head:
    known = {flag_of(each.name)[2:]: each for each in fields(Head)}
    hints = get_type_hints(Head)
    for key, value in found.items():
        if key not in known:
            _no_such_key(f"{shown}: {key}", key, [*known, "plan", "train", "eval"], "at the top of a recipe")
        kind = hints[known[key].name]
        if kind not in (str, int, float):
            valid = isinstance(value, list) and all(isinstance(each, str) for each in value)
        else:
            valid = type(value) in ((int, float) if kind is float else (kind,))
        if not valid:
            expected = {str: "a text", int: "a number", float: "a number"}.get(kind, "a list of texts")
            raise CapivaraError(f"{shown}: {key} = {value!r}: must be {expected}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    head = Head(**given)
    try:
        check_options(head)
    except UsageError as error:
        raise CapivaraError(f"{shown}: {error.message.removeprefix('--')}") from error
    return head


def _step(table: dict[str, Any], where: str) -> RecipeStep:
    given = dict(table)
    name = given.pop("step", None)
    if not isinstance(name, str):
        raise CapivaraError(f"{where}: step is missing: which stage?", 'step = "caption"')
    try:
        stage = load_command(name)
    except UsageError as error:
        raise CapivaraError(f"{where}: step: {error.message}") from error
    if not isinstance(stage, Stage) or stage.begins:
        why = "adapt packs the images itself" if name == "pack" else "it does not read and write shards"
        raise CapivaraError(f"{where}: step = {name!r}: not a step of a plan: {why}")
    return _checked_step(name, given, f"{where}, {name}")


def _checked_step(command: str, given: dict[str, Any], where: str) -> RecipeStep:
    step = RecipeStep(command, given)
    for key, value in given.items():
        _check_key(command, key, where, CapivaraError)
        if key == TARGETS and command == "eval":
            step = step.changed({key: _targets(value, f"{where}: {key}", CapivaraError)})
        elif isinstance(value, dict) or isinstance(value, bool) != _is_flag(command, key):
            expected = "true or false" if _is_flag(command, key) else "a text, a number or a list"
            raise CapivaraError(f"{where}: {key} = {value!r}: must be {expected}")
    return step


def _targets(value: Any, where: str, error: type[CapivaraError]) -> tuple[str, ...]:
    """The value of ``targets``: a list of texts, or a text with commas. Raises ``error`` for anything else."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if not isinstance(value, str):
        raise error(f"{where} = {value!r}: must be a list of texts")
    try:
        return Names().parse(value)
    except CapivaraError as problem:
        raise error(f"{where}: {problem.message}") from problem


def _check_key(command: str, key: str, where: str, error: type[CapivaraError]) -> None:
    own = [*_fields(command), *([TARGETS] if command == "eval" else [])]
    if key in _AT_THE_TOP.get(command, ()):
        raise error(f"{where}: {key} cannot be set here", "lang, model, pretrained and seeds are set at the top")
    if key not in own:
        _no_such_key(f"{where}: {key}", key, own, f"of capivara {command}", error)


def _no_such_key(
    where: str, key: str, known: Iterable[str], of: str, error: type[CapivaraError] = CapivaraError
) -> NoReturn:
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    guess = f" — did you mean {close[0]}?" if close else ""
    raise error(f"{where}: there is no such option {of}{guess}", f"there are {', '.join(known)}")


def _fields(command: str) -> dict[str, Field[Any]]:
    return {flag_of(each.name)[2:]: each for each in option_fields(load_command(command).options)}


def _field(command: str, key: str) -> Field[Any]:
    return _fields(command)[key]


def _is_flag(command: str, key: str) -> bool:
    return option_types(load_command(command).options)[_field(command, key).name] in (bool, bool | None)


def _words(key: str, value: Any, each: Field[Any], values: Mapping[str, str]) -> list[str]:
    """The words of one option; [] for a flag or an empty text that equals the default."""
    if isinstance(value, bool):
        return [] if value == each.default else [f"--{key}" if value else f"--no-{key}"]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    for name, replacement in values.items():
        text = text.replace(f"{{{name}}}", replacement)
    return [] if text == "" == each.default else [f"--{key}", text]


def settings_in(words: Sequence[str]) -> list[tuple[str, str, str]]:
    """``["train.lr=1e-4", "caption.beams=4"]`` -> [("train", "lr", "1e-4"), …].

    Raises ``UsageError`` for another form.
    """
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        command, dot, key = name.partition(".")
        if not equals or not dot:
            raise UsageError(f"--set {word}: not STEP.OPTION=VALUE", "as in: --set 'train.peft=lit caption.beams=4'")
        found.append((command, key, value))
    return found
