"""Write docs/cli.md from the options themselves: python docs/make_cli.py. A test compares the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from capivara_cli.cli.app import JsonOption
from capivara_cli.cli.parameters import plain_help
from capivara_cli.pipeline.options import Settings, flag_of, option_fields, option_types
from capivara_cli.pipeline.stage import Stage
from capivara_cli.registry import command_names, docstring, load_command

HEAD = """# Commands

Generated from the options in the source by `python docs/make_cli.py`; `capivara COMMAND --help` says the same.

Every command also takes the [options shared by all](#options-shared-by-all). An option that holds a list takes it
with commas or in parts: `--lang pt,hi` is `--lang pt --lang hi`. Any other option may be given once only.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *(command(name) for name in command_names())]
    shared = table(Settings) + "\n".join(rows(JsonOption)) + "\n"
    parts.append(
        f"## Options shared by all\n\n{shared}\nOnly commands that write no tar to standard output have `--json`.\n"
    )
    return "\n".join(parts)


def command(name: str) -> str:
    loaded = load_command(name)
    text = plain_help(docstring(command_names()[name], name))
    argument = "SOURCE" if name == "pack" else "INPUT" if isinstance(loaded, Stage) else loaded.argument
    usage = f"capivara {name}" + (f" [{argument}]..." if argument else "")
    options = f"{table(loaded.options)}\n" if option_types(loaded.options) else ""
    return f"## {name}\n\n    {usage}\n\n{text}\n\n{options}"


def table(options: type) -> str:
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows(options)]) + "\n"


def rows(options: type) -> list[str]:
    types = option_types(options)
    return [row(each, types[each.name]) for each in option_fields(options)]


def row(each: Any, kind: Any) -> str:
    flag = flag_of(each.name)
    if kind is bool and each.default:
        flag += flag.replace("--", " / --no-")
    text = each.metadata["help"].replace("|", "\\|")
    text, _, given = text.partition(" [default: ")
    default = given.rstrip("]") or ("" if each.default == "" or each.default is False else str(each.default))
    if get_origin(kind) is Literal:
        text += f" ({', '.join(get_args(kind))})"
    bounds = [
        f"{word} {each.metadata[key]}"
        for key, word in (("min", "at least"), ("max", "at most"))
        if each.metadata[key] is not None
    ]
    return f"| `{flag}` | {default} | {text}{'; ' + ', '.join(bounds) if bounds else ''} |"


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(page(), "utf-8")
