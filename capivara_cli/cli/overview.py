"""The page of ``capivara --help``: every command with the first line of its file.

Command files are read, not imported. Typer formats only the help of single commands: importing it takes longer than
all of this.
"""

from __future__ import annotations

import textwrap

from capivara_cli.registry import added_commands, command_names, describe, first_line

_WIDTH = 80
_HEAD = """\
Usage: capivara COMMAND [INPUT]... [OPTIONS]

Teach CLIP your language: images and captions in, a tuned model and its cost out
See it work, without a download: capivara demo --lang pt
"""
_TITLES = {
    "stages": "Stages, which read and write WebDataset shards, in folders or in a pipe",
    "commands": "Commands",
}
_TAIL = """\
Options:
  --version   show the version and exit
  -h, --help  show this message, or that of a command: capivara train --help

A list is given with commas or in parts: --lang pt,hi or --lang pt --lang hi
"""


def help_page() -> str:
    """The whole page."""
    names, added = command_names(), added_commands()
    indent = max(map(len, [*names, *added])) + 4
    parts = [_HEAD]
    for folder, title in _TITLES.items():
        lines = [_entry(name, first_line(folder, name), indent) for name, where in names.items() if where == folder]
        parts.append("\n".join([f"{title}:", *lines]) + "\n")
    if added:
        lines = [_entry(name, describe(kind, name), indent) for name, kind in added.items()]
        parts.append("\n".join(["From other packages:", *lines]) + "\n")
    return "\n".join([*parts, _TAIL])


def _entry(name: str, about: str, indent: int) -> str:
    summary = about.replace("``", "").partition(": capivara ")[0].rstrip(".")  # an example may follow the summary
    text = f"  {name}".ljust(indent) + summary
    return textwrap.fill(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
