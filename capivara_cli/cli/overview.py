"""The page of ``capivara --help``: every command with the first line of its file.

Command files are read, not imported. The page looks like the help of a command, which rich makes: importing that takes
longer than all of this.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping

from capivara_cli.registry import added_commands, command_names, describe, first_line

_HEAD = """\
Usage: capivara COMMAND [INPUT]... [OPTIONS]

 Teach CLIP your language: photos in, a tuned model and its cost out.
 See it work, without a download: capivara demo --lang pt
"""
_TITLES = {
    "stages": "Stages, which read and write WebDataset shards, in folders or in a pipe",
    "commands": "Commands",
}
_OPTIONS = {
    "-V, --version": "show the version",
    "-h, --help": "show this message; of a command: capivara help train",
    "--install-completion": "let your shell complete commands, options and their values (bash, zsh, fish)",
    "--show-completion": "print the script that does so",
}
_TAIL = """\
 A list is given with commas or in parts: --lang pt,hi or --lang pt --lang hi
"""


def help_page() -> str:
    """The whole page, as wide as the terminal; in colour if standard output is a terminal."""
    commands, added = command_names(), added_commands()
    widest = max(map(len, [*commands, *added]))
    parts = [_HEAD]
    for folder, title in _TITLES.items():
        rows = {name: first_line(folder, name).rstrip(".") for name, where in commands.items() if where == folder}
        parts.append(_panel(title, rows, widest))
    if added:
        rows = {name: describe(kind, name).rstrip(".") for name, kind in added.items()}
        parts.append(_panel("From other packages", rows, widest))
    parts += [_panel("Options", _OPTIONS, max(map(len, _OPTIONS))), "\n", _TAIL]
    return drawable("\n".join(parts[:1]) + "".join(["\n", *parts[1:]]))


def _panel(title: str, rows: Mapping[str, str], widest: int) -> str:
    """A frame with a title around rows of a name and its text."""
    width = max(40, _columns())
    bold, end = ("\x1b[1;36m", "\x1b[0m") if _coloured() else ("", "")
    lines = [f"╭─ {title} ".ljust(width - 1, "─") + "╮"]
    for name, text in rows.items():
        room = width - widest - 6
        for number, line in enumerate(textwrap.wrap(text, room, break_on_hyphens=False) or [""]):
            left = name if number == 0 else ""
            lines.append(f"│ {bold if left else ''}{left}{end if left else ''}{' ' * (widest - len(left))}"
                         f"  {line.ljust(room)} │")  # fmt: skip
    return "\n".join([*lines, f"╰{'─' * (width - 2)}╯", ""])


def _columns() -> int:
    """The width of the terminal; 80 without one."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    for stream in (1, 2, 0):
        try:
            return os.get_terminal_size(stream).columns or 80
        except OSError:
            continue
    return 80


def _coloured() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def drawable(text: str) -> str:
    """A help page with frames that standard output can write: "+-|" where it has no Unicode."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return text.translate(str.maketrans("╭╮╰╯─│…", "++++-|.")).encode("ascii", "replace").decode()
    return text
