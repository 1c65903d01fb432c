"""Write docs/cli.md from the options themselves: python docs/make_cli.py. A test compares the two."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from capivara_cli.cli.command_help import arguments_of, has_json, help_text, text_and_default, usage
from capivara_cli.pipeline.options import JsonOption, Settings, flag_of, option_fields, option_panels, option_types
from capivara_cli.registry import command_names, load_command

HEAD = """# Commands

Generated from the options in the source by `python docs/make_cli.py`; `capivara COMMAND --help` says the same.

Commands share some [options](#shared-options); each has those that it reads. An option that holds a list takes it
with commas or in parts: `--lang pt,hi` is `--lang pt --lang hi`. Any other option may be given once only.

`capivara --install-completion` lets your shell complete commands, options and their values: languages, captioners,
translators, eval sets, run folders. It knows bash, zsh, fish and PowerShell.
"""
TAIL = """
Every command also has `-V`, `--version` and `-h`, `--help`; `capivara help train` is `capivara train --help`. Commands
that write no tar to standard output have `--json`.
"""


def page() -> str:
    """The whole page."""
    shared = table(Settings, [each.name for each in option_fields(Settings)]) + "\n".join(rows(JsonOption, ["json"]))
    return "\n".join([HEAD, *map(command, command_names()), f"## Shared options\n\n{shared}\n{TAIL}"])


def command(name: str) -> str:
    loaded, text = load_command(name), help_text(name)
    parts = [f"## {name}", f"    {usage(name, loaded)}", *text.paragraphs]
    parts += [f"- `{word}`: {meaning}" for word, meaning in arguments_of(name, loaded).items()]
    panels = option_panels(loaded.options)
    for panel in dict.fromkeys(panels.values()):
        names = [field for field, title in panels.items() if title == panel]
        parts.append(f"**{panel}**\n\n{table(loaded.options, names)}".rstrip())
    shared = [flag_of(each.name) for each in option_fields(Settings) if each.name in loaded.shared]
    shared += ["--json"] if has_json(loaded) else []
    parts.append(f"[Shared options](#shared-options): {', '.join(f'`{flag}`' for flag in shared)}")
    parts.append("```sh\n" + "\n".join(text.examples) + "\n```")
    return "\n\n".join(parts) + "\n"


def table(options: type, names: Collection[str]) -> str:
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows(options, names)]) + "\n"


def rows(options: type, names: Collection[str]) -> list[str]:
    types = option_types(options)
    return [row(each, types[each.name]) for each in option_fields(options) if each.name in names]


def row(each: Any, kind: Any) -> str:
    flag = f"-{each.metadata['short']}, " if each.metadata["short"] else ""
    flag += flag_of(each.name)
    if kind is bool and each.default:
        flag += f" / {flag_of(each.name).replace('--', '--no-')}"
    text, default = text_and_default(each, kind)
    text = text.replace("|", "\\|").replace("<", "\\<")
    default = "on" if each.default is True else default.replace("<", "\\<")
    bounds = [
        f"{word} {each.metadata[key]}"
        for key, word in (("min", "at least"), ("max", "at most"))
        if each.metadata[key] is not None
    ]
    return f"| `{flag}` | {default} | {text}{'; ' + ', '.join(bounds) if bounds else ''} |"


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(page(), "utf-8")
