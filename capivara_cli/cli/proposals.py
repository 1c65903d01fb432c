"""What the shell proposes for the value of an option, or for an argument. Without proposals it proposes files."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field
from typing import Any

from capivara_cli import registry
from capivara_cli.errors import CapivaraError

_DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
Proposals = Mapping[str, str]
"""What may be written in a place -> what it is, "" if that is not said."""


Complete = Callable[[str], list[tuple[str, str]]]
"""What may complete the beginning of a word, with explanations: the form of ``typer.Option(autocompletion=…)``."""


def of_option(each: Field[Any]) -> Complete | None:
    """The completion of an option's value; None if there is nothing to propose."""
    propose = _proposer(each)
    separator = getattr(each.metadata["kind"], "separator", "")
    return None if propose is None else _complete(propose, in_lists=separator == ",")


def of_argument(argument: str) -> Complete | None:
    """The completion of the positional arguments that a command calls ``argument``."""
    propose = {
        "KIND [WORD]": _kinds,
        "TARGET": lambda: {**_evalsets(), **_runs()},
        "RUN": _runs,
        "RUN_OR_FOLDER | -- CMD": _runs,
        "COMMAND": _commands,
    }.get(argument)
    return None if propose is None else _complete(propose)


def _complete(propose: Callable[[], Proposals], *, in_lists: bool = False) -> Complete:
    """A completion by the proposals; ``in_lists``: of the last item of a list with commas."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        try:
            proposals = propose()
        except (CapivaraError, OSError):  # a broken plugin, or a folder that cannot be read: no proposals
            return []
        given, comma, _ = incomplete.rpartition(",") if in_lists else ("", "", "")
        words = {f"{given}{comma}{word}": text for word, text in proposals.items() if word not in given.split(",")}
        return [(word, text) for word, text in words.items() if word.startswith(incomplete)]

    return complete


def _commands() -> Proposals:
    return {name: registry.first_line(folder, name) for name, folder in registry.command_names().items()}


def _proposer(each: Field[Any]) -> Callable[[], Proposals] | None:
    """What may be the value of an option, by ``completes``, ``reads`` or ``kind`` of its field."""
    from capivara_cli.pipeline.option_kinds import Languages, Names

    what, reads, kind = each.metadata["completes"], each.metadata["reads"], each.metadata["kind"]
    known = {"devices": lambda: dict.fromkeys(_DEVICES, ""), "evalsets": _evalsets, "recipes": _recipes}
    if what in known:
        return known[what]
    if what in registry.KINDS or reads in registry.KINDS:
        return functools.partial(_plugins, what or reads)
    if what:
        return lambda: dict.fromkeys(what.split(","), "")
    if reads == "model" and each.name != "pretrained":
        return lambda: {"toy": "the small model that is part of capivara", **_runs()}
    if isinstance(kind, Languages):
        return functools.partial(_languages, kind.known, kind.any)
    if isinstance(kind, Names) and kind.known:
        words = (*kind.known, *("all",) * kind.all, *("none",) * kind.none)
        return lambda: dict.fromkeys(words, "")
    return None


def _languages(known: Sequence[str], word: str) -> Proposals:
    from capivara_cli import languages

    codes = {code: languages.get(code).name for code in known or languages.all_codes()}
    return {word: "", **codes} if word else codes


def _plugins(kind: str) -> Proposals:
    return {name: registry.describe(kind, name) for name in registry.names(kind)}


def _evalsets() -> Proposals:
    from capivara_cli.evaluation import catalogue

    return {name: catalogue.describe(name) for name in catalogue.names()} | dict.fromkeys(catalogue.groups(), "")


def _recipes() -> Proposals:
    return dict.fromkeys(registry.recipes(), "")


def _kinds() -> Proposals:
    return dict.fromkeys(("languages", "models", "recipes", *registry.KINDS), "")


def _runs() -> Proposals:
    """The run folders here, in ``runs``, and below other folders."""
    return dict.fromkeys(_folders(("*/run.json", "*/*/run.json")), "run")


def _folders(patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        yield from sorted(os.path.dirname(path) for path in glob.glob(pattern))  # noqa: PTH120, PTH207  relative, as typed
