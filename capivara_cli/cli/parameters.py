"""Make Typer parameters from an options dataclass, and steps from the text of a plan."""

from __future__ import annotations

import inspect
import itertools
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import Field, replace
from typing import Annotated, Any

import typer

from capivara_cli import __version__
from capivara_cli.cli import proposals
from capivara_cli.cli.command_help import OTHER_NAMES
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import Invocation
from capivara_cli.pipeline.options import (
    Settings,
    build,
    check_options,
    default_of,
    flag_of,
    option_fields,
    option_types,
    option_values,
)
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.registry import load_command

TYPER_ERROR: Any = typer.BadParameter.__bases__[0].__bases__[0]
"""The class that Typer raises for a wrong command line. Typer vendors Click, so the class has no public name."""


def typer_function(
    options: type, call: Callable[..., None], shared: tuple[type, ...] = (), argument: str | None = "INPUT",
    offered: Collection[str] | None = None,
) -> Callable[..., None]:  # fmt: skip
    """A function for Typer with one parameter per option. It builds the dataclasses and passes them to ``call``.

    ``call`` gets the list of positional arguments (unless ``argument`` is None), an instance of ``options``, then one
    of each class in ``shared``. ``argument`` is the word for the positional arguments; "" allows none. ``offered``: the
    names of the fields of ``shared`` that are options, None for all; the others have their defaults.
    """
    classes = (options, *shared)
    chosen = {
        cls: [each for each in option_fields(cls) if cls is options or offered is None or each.name in offered]
        for cls in classes
    }
    names = {each.name for each in itertools.chain.from_iterable(chosen.values())}
    parameters = [parameter for cls in classes for parameter in _parameters(cls, chosen[cls], names)]
    if argument:
        completes = proposals.of_argument(argument)
        positional = Annotated[list[str] | None, typer.Argument(metavar=argument, autocompletion=completes)]
        parameters.insert(0, _parameter("inputs", positional, None))

    def function(**values: Any) -> None:
        built: list[Any] = [build(cls, **{each.name: values[each.name] for each in chosen[cls]}) for cls in classes]
        for each in built:
            check_options(each)
        call(*([values.get("inputs") or []] if argument is not None else []), *built)

    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def with_lists_joined(words: Sequence[str], *classes: type) -> list[str]:
    """A command line in which each option occurs once: ``--lang pt --lang hi`` becomes ``--lang pt,hi``.

    Typer would drop all values but the last. ``classes``: the options of the command. Raises ``UsageError`` for a
    repeated option that does not hold a list.
    """
    known: dict[str, tuple[Field[Any], Any]] = {}
    for flag, each, kind in itertools.chain.from_iterable(map(_flags, classes)):
        known.setdefault(flag, (each, kind))
    found: list[str] = []
    places: dict[str, int] = {}
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*found, word, *rest]
        flag, equals, value = word.partition("=")
        if flag not in known:
            found.append(word)
            continue
        each, kind = known[flag]
        parts = [word] if equals or kind in _SWITCHES else [word, *itertools.islice(rest, 1)]
        if each.name not in places:
            found += parts
            places[each.name] = len(found) - 1
        elif separator := getattr(each.metadata.get("kind"), "separator", ""):
            found[places[each.name]] += separator + (value if equals else parts[-1])
        else:
            raise UsageError(f"{flag} is given more than once, and holds one value", "give it once")
    return found


_SWITCHES = (bool, bool | None)


def _flags(cls: type) -> Iterator[tuple[str, Field[Any], Any]]:
    """Every flag of an options dataclass, with its field and type."""
    types = option_types(cls)
    for each in option_fields(cls):
        flag, kind = flag_of(each.name), types[each.name]
        short = f"-{each.metadata['short']}" if each.metadata["short"] else flag
        for name in (flag, short, flag_of(OTHER_NAMES.get(each.name, each.name)), flag.replace("--", "--no-", 1)):
            if not name.startswith("--no-") or name == flag or kind in _SWITCHES:
                yield name, each, kind


def _parameters(cls: type, chosen: Iterable[Field[Any]], names: set[str]) -> list[inspect.Parameter]:
    types = option_types(cls)
    return [_parameter(each.name, _annotation(each, types[each.name], names), default_of(each)) for each in chosen]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _annotation(each: Field[Any], kind: Any, names: set[str]) -> Any:
    declaration = flag_of(each.name)
    if (kind is bool and each.default) or kind == (bool | None):
        declaration += declaration.replace("--", "/--no-")
    declarations = [declaration]
    if (other := OTHER_NAMES.get(each.name)) and other not in names:
        declarations.append(flag_of(other))
    if short := each.metadata["short"]:
        declarations.append(f"-{short}")
    envvar, help_text = each.metadata["envvar"] or None, each.metadata["help"]
    return Annotated[
        kind, typer.Option(*declarations, help=help_text, envvar=envvar, autocompletion=proposals.of_option(each))
    ]


def parse_plan(text: str) -> list[Step]:
    """``"caption --n 3 | translate --lang ca"`` -> steps. Raises ``UsageError`` that names the wrong step."""
    words: list[list[str]] = [[]]
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|")
        lexer.whitespace_split = True
        lexer.commenters = ""
        for word in lexer:
            if word == "|":
                words.append([])
            else:
                words[-1].append(word)
    except ValueError as error:
        raise UsageError(f"plan {text!r}: {error}") from error
    return [parse_step(part, text) for part in words]


def parse_step(words: list[str], plan: str) -> Step:
    """One step of a plan from its words, such as ``["caption", "--n", "3"]``; a leading ``capivara`` is allowed.

    ``plan`` is the text of the whole plan, for error messages. Raises ``UsageError`` for a command that is no stage
    and for wrong options.
    """
    if words[:1] == ["capivara"]:
        words = words[1:]
    if not words:
        raise UsageError(
            f"plan {plan!r}: an empty step", "write it as in a shell: 'caption --n 3 | translate --lang pt'"
        )
    stage = load_command(words[0])
    if not isinstance(stage, Stage):
        raise UsageError(
            f"plan {plan!r}: {words[0]} is no stage: it does not write shards", "put it after the plan, in a pipe"
        )
    parsed = _parse(words, stage.options, (), None)
    return Step(stage, parsed[0])


def parse_command(words: Sequence[str], settings: Settings) -> Invocation:
    """``["train", "shards", "--lang", "hi"]`` -> command, inputs, options and shared settings.

    Shared flags that the words do not set, or set to their defaults, come from ``settings``. Raises ``UsageError`` for
    a wrong command line.
    """
    loaded = load_command(words[0])
    inputs, options, own = _parse(list(words), loaded.options, (Settings,), "INPUT", loaded.shared)
    changed = {name: value for name, value in option_values(own).items() if value != getattr(Settings(), name)}
    return Invocation(loaded, inputs, options, replace(settings, **changed))


def _parse(
    words: list[str], options: type, shared: tuple[type, ...], argument: str | None,
    offered: Collection[str] | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    """Let Typer parse a command line, and return what it would pass to the command.

    Raises ``UsageError`` for a wrong one, and ``KeyboardInterrupt`` on Ctrl-C.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    parsed: list[Any] = []
    collect = typer_function(options, lambda *built: parsed.extend(built), shared, argument, offered)
    app.command(context_settings={"help_option_names": []})(collect)
    try:
        words = [words[0], *with_lists_joined(words[1:], options, *shared)]
    except UsageError as error:
        raise UsageError(f"{words[0]}: {error.message}", error.hint) from error
    try:
        typer.main.get_command(app).main(words[1:], prog_name=words[0], standalone_mode=False)
    except TYPER_ERROR as error:
        raise wrong_use(words[0], error) from error
    except typer.Abort as stop:
        raise KeyboardInterrupt from stop
    if not parsed:  # Typer turns Ctrl-C into an exit code and returns that
        raise KeyboardInterrupt
    return tuple(parsed)


def wrong_use(name: str, error: Any) -> UsageError:
    """The error for a command line that Typer refuses; ``error`` is a ``TYPER_ERROR``."""
    message = error.format_message().replace("Value error, ", "").rstrip(".")  # pydantic's words for a wrong choice
    return UsageError(f"{name}: {message}", f"see: capivara {name} --help")


def version_option() -> inspect.Parameter:
    """The parameter ``--version``, which every command has."""

    def show(value: bool) -> None:
        if value:
            typer.echo(f"capivara {__version__}")
            raise typer.Exit

    option = typer.Option("--version", "-V", is_eager=True, callback=show)
    return _parameter("version", Annotated[bool, option], False)


def with_version(function: Callable[..., None]) -> Callable[..., None]:
    """The Typer function with ``--version`` added."""

    def versioned(version: bool = False, **values: Any) -> None:
        function(**values)

    signature = inspect.signature(function)
    versioned.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), version_option()]
    )
    return versioned
