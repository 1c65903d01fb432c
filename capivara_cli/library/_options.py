"""Options of commands as keywords of functions: their types, their documentation, and the conversion of values."""

from __future__ import annotations

import inspect
import operator
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from capivara_cli.errors import UsageError
from capivara_cli.library._calls import in_keywords
from capivara_cli.pipeline.option_kinds import Ranks, Words
from capivara_cli.pipeline.options import (
    Settings,
    build,
    check_options,
    default_of,
    flag_of,
    option_fields,
    option_types,
)
from capivara_cli.registry import load_command

Function = TypeVar("Function", bound=Callable[..., Any])
_PATHS = ("files", "images", "model")


@dataclass(frozen=True)
class Keywords:
    """The keywords of one function: the options of a command, some of those that all commands share, and ``progress``.

    ``left_out``: options that the function does not have. ``renamed``: parameters that stand for a flag of the command.
    ``function``: the name of the function, if it is not that of the command.
    """

    command: str
    shared: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    function: str = ""

    @property
    def options(self) -> type:
        """The options dataclass of the command."""
        return load_command(self.command).options  # type: ignore[no-any-return]

    @property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """The dataclass field and the type of each keyword but ``progress``, by name."""
        found = {}
        for cls in (self.options, Settings):
            types = option_types(cls)
            for each in option_fields(cls):
                wanted = each.name in self.shared if cls is Settings else each.name not in self.left_out
                if wanted and each.name not in found:
                    found[each.name] = (each, types[each.name])
        return found

    @property
    def flags(self) -> dict[str, str]:
        """The keyword for each flag, for error messages."""
        return {**{flag_of(name): name for name in self.fields}, **self.renamed}

    def parameters(self) -> list[inspect.Parameter]:
        """The keywords with their types and defaults, for ``inspect.signature``."""
        found = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default_of(each), annotation=_type(each, kind)
            )
            for name, (each, kind) in self.fields.items()
        ]
        return [*found, inspect.Parameter("progress", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool")]

    def documentation(self) -> str:
        """A list of the keywords with their defaults and meaning, in Markdown."""
        flags = self.flags
        lines = [
            f"- ``{name}={default_of(each)!r}``: {in_keywords(each.metadata['help'], flags)}"
            for name, (each, _) in self.fields.items()
        ]
        return "\n".join([*lines, "- ``progress=False``: show progress and messages on standard error"])

    def parse(self, given: Mapping[str, Any], **settings: Any) -> tuple[Any, Settings, bool]:
        """The options of the command, the shared settings, and ``progress``, from keywords.

        Raises ``UsageError`` for an unknown keyword, and for a value that the option cannot have.
        """
        values = dict(given)
        progress = bool(values.pop("progress", False))
        fields = self.fields
        for name in values:
            if name not in fields:
                raise _unknown(self.function or self.command, name, [*fields, "progress"])
        converted = {name: _converted(*fields[name], value) for name, value in values.items()}
        own = {each.name for each in option_fields(self.options)} - set(self.left_out)
        options: Any = build(self.options, **{name: value for name, value in converted.items() if name in own})
        shared = {name: value for name, value in converted.items() if name not in own}
        common = build(Settings, **{"quiet": not progress, **shared, **settings})
        check_options(options)
        check_options(common)
        return options, common, progress


def keywords(given: Keywords, *, listed: bool = True) -> Callable[[Function], Function]:
    """Return a decorator that gives a function the keywords of a command: in its signature and, if they are ``listed``,
    in its docstring."""

    def decorated(function: Function) -> Function:
        own = inspect.signature(function)
        named = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = own.replace(parameters=[*named, *given.parameters()])  # type: ignore[attr-defined]
        function.__keywords__ = given  # type: ignore[attr-defined]
        options = f"\n\nOptions:\n\n{given.documentation()}\n" if listed else ""
        function.__doc__ = inspect.cleandoc(function.__doc__ or "") + options
        return function

    return decorated


def _unknown(function: str, name: str, known: Sequence[str]) -> UsageError:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    guess = f" — did you mean {close[0]}?" if close else ""
    return UsageError(f"{function}: there is no option {name!r}{guess}", f"help(capivara.{function}) lists the options")


def _type(each: Any, kind: Any) -> str:
    """The type of a keyword as text. A list on the command line is a sequence here; a text is possible too."""
    if kind is not str:
        return _type_text(kind)
    reads, option_kind = each.metadata.get("reads"), each.metadata.get("kind")
    item = "StrPath" if reads in _PATHS or each.metadata.get("output") else "str"
    if option_kind is None or not option_kind.separator:
        return item
    return f"{item} | Sequence[{item}]" if not isinstance(option_kind, Ranks) else "str | int | Sequence[int]"


def _type_text(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "Literal[" + ", ".join(f'"{each}"' for each in get_args(kind)) + "]"
    if isinstance(kind, UnionType) or type(None) in get_args(kind):
        return " | ".join("None" if each is type(None) else _type_text(each) for each in get_args(kind))
    return str(kind.__name__)


def _converted(each: Any, kind: Any, value: Any) -> Any:
    """The value of an option as the command line would have it. Raises ``UsageError`` for one of another type."""
    kinds = get_args(kind) if get_origin(kind) is not Literal and get_args(kind) else (kind,)
    if value is None and type(None) in kinds:
        return None
    (wanted,) = [one for one in kinds if one is not type(None)]
    found = _of_kind(each, wanted, value)
    if found is None:
        raise UsageError(f"{flag_of(each.name)} {value!r}: is not {_words(wanted)}")
    return found


def _of_kind(each: Any, kind: Any, value: Any) -> Any:
    """The converted value, None if it cannot be."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if kind is bool:
        return value if isinstance(value, bool) else None
    if kind is int:
        try:
            return None if isinstance(value, bool) else operator.index(value)
        except TypeError:
            return None
    if kind is float:  # 1 and 1.0 are the same number, but not the same history
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
    return _text(each, value)


def _text(each: Any, value: Any) -> str | None:
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        return path if isinstance(path, str) else None
    option_kind = each.metadata.get("kind")
    separator = getattr(option_kind, "separator", "")
    if isinstance(option_kind, Ranks) and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not separator or not isinstance(value, Iterable):
        return None
    items = [str(item) if isinstance(option_kind, Ranks) else _text(each, item) for item in value]
    texts = [item for item in items if item is not None]
    if len(texts) < len(items):
        return None
    if isinstance(option_kind, Words):
        return shlex.join(texts)
    if divided := [item for item in texts if separator in item]:
        raise UsageError(f"{flag_of(each.name)} {divided[0]!r}: has a {separator!r}, which separates items of a list")
    return separator.join(texts)


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return {bool: "True or False", int: "a whole number", float: "a number"}.get(kind, "a text, or a list of texts")


def texts_of(values: object) -> list[str]:
    """The texts of one text or path, or of several. Raises ``UsageError`` for anything else, and for none."""
    several = [values] if isinstance(values, str | os.PathLike) else values
    if not isinstance(several, Sequence):
        raise UsageError(f"{values!r}: is neither a path nor a list of paths")
    found = []
    for each in several:
        if not isinstance(each, str | os.PathLike) or not isinstance(os.fspath(each), str):
            raise UsageError(f"{each!r}: is not a path")
        found.append(os.fspath(each))
    if not found:
        raise UsageError("no input is named")
    return [str(Path(each)) if isinstance(each, os.PathLike) else each for each in found]
