"""Commands as text, from the options that histories and ``run.json`` record."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from capivara_cli.pipeline.options import default_of, flag_of, option_fields
from capivara_cli.registry import command_names, load_command
from capivara_cli.shards.history import HistoryStep


def command_text(name: str, options: dict[str, Any], more: Sequence[str] = ()) -> str:
    """The command line without ``capivara``: ``name``, the words ``more``, and options that are not at their default.

    An unknown command gets all its options.
    """
    words = [name, *more]
    defaults = _defaults(name)
    for key, value in options.items():
        if key in defaults and value == defaults[key]:
            continue
        flag = flag_of(key)
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif value not in ("", None):
            words += [flag, shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))]
    return " ".join(words)


def step_texts(history: Iterable[HistoryStep]) -> list[str]:
    """The command line of each step of a history, oldest first."""
    return [command_text(str(step.get("step", "?")), _options(step)) for step in history]


def _options(step: HistoryStep) -> dict[str, Any]:
    options = step.get("options")
    return options if isinstance(options, dict) else {}


def _defaults(name: str) -> dict[str, Any]:
    if name not in command_names():
        return {}
    return {each.name: default_of(each) for each in option_fields(load_command(name).options)}
