"""What ``--help`` says about one command: usage, text, arguments, options in panels, examples.

The text, the arguments and the examples are in the docstring of the command's file, the options in its dataclasses.
``page`` looks like Typer's help with rich. It is made without Typer, whose ``rich_utils`` also imports Markdown, syntax
highlighting and tracebacks: more than half of the time of ``capivara train --help``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import Field, dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from capivara_cli import console
from capivara_cli.cli.overview import drawable
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import (
    GENERAL,
    LAST_PANELS,
    RESULTS,
    WORK,
    JsonOption,
    Settings,
    flag_of,
    option_fields,
    option_panels,
    option_types,
)
from capivara_cli.pipeline.stage import Stage
from capivara_cli.registry import command_names, docstring

if TYPE_CHECKING:
    from rich.panel import Panel

    from capivara_cli.pipeline.command import Command

OTHER_NAMES = {"share": "part"}
"""Second names of shared options. A command with an option of that name, such as ``split --part``, keeps its own."""
_INPUT = "shards: folders, .tar files, patterns, URLs; -: standard input; without any, shards/ or the pipe"
_LONGEST_FLAGS = 34


@dataclass(frozen=True)
class HelpText:
    """The parts of the docstring of a command's file: paragraphs, the arguments by name, and example lines."""

    paragraphs: tuple[str, ...]
    arguments: dict[str, str]
    examples: tuple[str, ...]


class OptionRow(NamedTuple):
    """An option in ``--help``: "-o, --out DIR", its text, and its default ("" if it has none)."""

    flags: str
    text: str
    default: str


def help_text(name: str) -> HelpText:
    """The help text of a command, from the docstring of its file, which is not imported."""
    folder = command_names().get(name, "")
    return parsed_text(docstring(folder, name)) if folder else HelpText((), {}, ())


def parsed_text(text: str) -> HelpText:
    """A docstring as ``HelpText``: the indented lines below "Arguments:" are ``NAME: text``, those below "Examples:"
    command lines."""
    paragraphs: list[str] = []
    sections: dict[str, list[str]] = {"Arguments:": [], "Examples:": []}
    for paragraph in plain(text).split("\n\n"):
        title, _, body = paragraph.partition("\n")
        if title in sections:
            sections[title] += body.splitlines()
        elif paragraph.strip():
            paragraphs.append(" ".join(paragraph.split()))
    lines = re.sub(r"\n {5,}", " ", "\n".join(sections["Arguments:"])).splitlines()
    arguments = dict(line.strip().split(": ", 1) for line in lines)
    return HelpText(tuple(paragraphs), arguments, tuple(line.strip() for line in sections["Examples:"]))


def plain(text: str) -> str:
    """A docstring as help text, without its double backquotes."""
    return re.sub(r"``(.+?)``", r"\1", text)


def argument_of(command: Stage | Command, name: str) -> str:
    """The word for the positional arguments of a command; "" if it takes none."""
    return ("SOURCE" if name == "pack" else "INPUT") if isinstance(command, Stage) else command.argument


def usage(name: str, command: Stage | Command) -> str:
    """``capivara train [OPTIONS] [INPUT]...``"""
    argument = argument_of(command, name)
    return f"capivara {name} [OPTIONS]" + (f" [{argument}]..." if argument else "")


def arguments_of(name: str, command: Stage | Command) -> dict[str, str]:
    """The arguments of a command with their explanations."""
    return help_text(name).arguments or ({"INPUT": _INPUT} if argument_of(command, name) == "INPUT" else {})


def has_json(command: Stage | Command) -> bool:
    """Whether a command has ``--json``: those that write no tar to standard output have it."""
    return not isinstance(command, Stage) and not command.streams


def panels(command: Stage | Command) -> dict[str, list[OptionRow]]:
    """The options of a command by panel, in the order in which ``--help`` shows them."""
    found: dict[str, list[OptionRow]] = {WORK: []}
    own = {each.name for each in option_fields(command.options)}
    classes: list[tuple[type, frozenset[str]]] = [(command.options, frozenset(own)), (Settings, command.shared)]
    classes += [(JsonOption, frozenset({"json"}))] if has_json(command) else []
    for cls, names in classes:
        titles, types = option_panels(cls), option_types(cls)
        for each in option_fields(cls):
            if each.name in names:
                found.setdefault(titles[each.name], []).append(_row(each, types[each.name], own))
    general = [OptionRow("-V, --version", "show the version", ""), OptionRow("-h, --help", "show this message", "")]
    if has_json(command):  # ``--out`` of stages and ``run`` has a default
        out = found.get(RESULTS, [])
        found[RESULTS] = [row._replace(default="") if "--out" in row.flags else row for row in out]
    found.setdefault(GENERAL, []).extend(general)
    first = [title for title in found if title not in LAST_PANELS]
    return {title: found[title] for title in (*first, *LAST_PANELS) if found.get(title)}


def _row(each: Field[Any], kind: Any, own: set[str]) -> OptionRow:
    flag = flag_of(each.name)
    if (kind is bool and each.default) or kind == (bool | None):
        flag = flag.replace("--", "--[no-]", 1)
    short = each.metadata["short"]
    other = OTHER_NAMES.get(each.name)
    flags = ", ".join(
        [*([f"-{short}"] if short else []), flag, *([flag_of(other)] if other and other not in own else [])]
    )
    text, default = text_and_default(each, kind)
    if envvar := each.metadata["envvar"]:
        text += f" [env var: {envvar}]"
    value = _value(each, kind)
    return OptionRow(f"{flags} {value}" if value else flags, text, default)


def text_and_default(each: Field[Any], kind: Any) -> tuple[str, str]:
    """The text of an option, with its choices if the text does not name them, and its default as text."""
    text, _, given = each.metadata["help"].partition(" [default: ")
    default = given.rstrip("]")
    if not given and each.default not in ("", None) and not isinstance(each.default, bool):
        default = f"{each.default:g}" if isinstance(each.default, float) else str(each.default)
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if not all(re.search(rf"\b{re.escape(choice)}\b", text) for choice in choices):
        listed = ", ".join(choices)
        text = f"{text} ({listed})" if ":" in text else f"{text}: {listed}"
    return text, default


def _value(each: Field[Any], kind: Any) -> str:
    """The word for the value of an option; "" for a switch."""
    if kind in (bool, bool | None):
        return ""
    if each.metadata["metavar"]:
        return str(each.metadata["metavar"])
    parses = each.metadata["kind"]
    if isinstance(parses, Languages):
        return "LANG" if parses.one else "LANGS"
    if isinstance(parses, Names):
        return "NAMES"
    if each.metadata["reads"] == "model":
        return "MODEL"
    return "N" if kind in (int, int | None) else "X" if kind in (float, float | None) else "TEXT"


def page(name: str, command: Stage | Command) -> str:
    """The whole help of a command, as wide as the terminal; in colour if standard output is a terminal."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    out = StringIO()
    coloured = console.is_terminal() or bool(os.environ.get("FORCE_COLOR"))
    screen = Console(
        file=out, force_terminal=coloured and not os.environ.get("NO_COLOR"), highlight=False, emoji=False,
        markup=False, legacy_windows=False,
    )  # fmt: skip
    text = help_text(name)
    screen.print(Text.assemble(("Usage: ", "yellow"), (usage(name, command), "bold")), end="\n\n")
    for number, paragraph in enumerate(text.paragraphs):
        screen.print(Padding(Text(paragraph, "dim" if number else ""), (0, 1, 1, 1)))
    for panel in _panels(name, command):
        screen.print(panel)
    if text.examples:
        screen.print("\nExamples:", style="bold")
        for line in text.examples:
            screen.print(Text(f"  {line}"), no_wrap=True, overflow="ignore", crop=False)
    return drawable("\n".join(line.rstrip() for line in out.getvalue().split("\n")))


def _panels(name: str, command: Stage | Command) -> Iterator[Panel]:
    """A panel for the arguments, and one for each group of options."""
    explained = [OptionRow(word, text, "") for word, text in arguments_of(name, command).items()]
    groups = panels(command)
    widest = max(len(row.flags) for rows in groups.values() for row in rows)
    for title, rows in {"Arguments": explained, **groups}.items():
        if rows:
            yield _panel(title, rows, min(widest, _LONGEST_FLAGS))


def _panel(title: str, rows: list[OptionRow], width: int) -> Panel:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(min_width=width, no_wrap=True)
    table.add_column(ratio=1)
    for row in rows:
        flags, space, value = row.flags.rpartition(" ") if row.flags[:1] == "-" else (row.flags, "", "")
        if not space or value.startswith("-"):
            flags, value = row.flags, ""
        text = Text(row.text)
        if row.default:
            text.append(f" [default: {row.default}]", "dim")
        table.add_row(Text.assemble((flags, "bold cyan"), (f" {value}" if value else "", "bold yellow")), text)
    return Panel(table, title=title, title_align="left", border_style="dim")
