"""Try a plugin on small examples and say what is right and wrong with it.

docs/extending.md says what each kind of plugin must do. Exit code 1: something is wrong.

Arguments:
    KIND: captioner, translator, rewriter, importer, evalset, exporter, stage, command, identifier or engine
    NAME: the name of the plugin, or NAME:VARIANT

Examples:
    capivara check translator toy
    capivara check stage split --given '--fraction 0.5'
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capivara_cli import __version__, console, registry
from capivara_cli.commands.checking.points import Stopped, Subject
from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Words
from capivara_cli.pipeline.options import COSTS, opt, parsed
from capivara_cli.plugin_errors import Origin

_ONE = Languages(one=True)


@dataclass(frozen=True)
class Options:
    lang: str = opt("", "language to try [default: the first that the plugin declares]", kind=_ONE)
    from_: str = opt("", "a translator: language to translate from [default: as --lang]", kind=_ONE)
    example: str = opt("", "a source for an importer, --data for an eval set, a run to export", reads="files")
    given: str = opt("", "a stage: the options to try it with, as in '--lang pt'", kind=Words())


@command("check", Options, "KIND NAME", settings=("device", *COSTS))
def check(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Print one line per point. Raises ``CapivaraError`` at the end if one is wrong."""
    from capivara_cli.cli.summary import write_summary

    if len(inputs) != 2:
        raise UsageError("check needs a kind and a name", "for example: capivara check translator glossary")
    kind, (name, _, variant) = _kind(inputs[0]), inputs[1].partition(":")
    registry.check(kind, name)
    subject = Subject(
        kind, name, variant, _origin(kind, name), next(iter(parsed(options, "from_")), ""),
        next(iter(parsed(options, "lang")), ""), options.example, env.settings.device, shlex.split(options.given),
    )  # fmt: skip
    _try(subject)
    counts = Counter(each.right for each in subject.points)
    if not env.json:
        lines = [str(subject.origin), *(console.printable(str(each)) for each in subject.points)]
        console.print_result("\n".join(lines) + "\n")
    summary: dict[str, Any] = {"kind": kind, "name": name, "package": subject.origin.package, "wrong": counts[False]}
    summary["points"] = subject.to_json()
    if counts[False]:
        write_summary({"command": "check", **summary}, env.settings.summary, env.json)
        of = f"{counts[False]} of {len(subject.points)}"
        raise CapivaraError(f"{subject.origin}: {of} points are wrong", "docs/extending.md says what a plugin does")
    untried = f", {counts[None]} not tried" if counts[None] else ""
    console.say(f"{subject.origin}: {counts[True]} points are right{untried}")
    return summary


def _kind(word: str) -> str:
    """``translator``, ``translators`` -> "translators". Raises ``UsageError`` for a word that is no kind."""
    plain = word.replace("-", "").replace(" ", "").replace("_", "").lower().removesuffix("s")
    for kind in registry.KINDS:
        if plain == kind.removesuffix("s"):
            return kind
    error = unknown("kind", word, [kind.removesuffix("s") for kind in registry.KINDS])
    raise UsageError(error.message, error.hint)


def _origin(kind: str, name: str) -> Origin:
    return registry.origin_of(kind, name) or Origin(kind, name, "capivara_cli", f"capivara {__version__}")


def _try(subject: Subject) -> None:
    """Try all points, as far as they can be tried."""
    from capivara_cli.commands.checking import programs, samples, texts
    from capivara_cli.commands.checking.installed import check_installed

    contracts: dict[str, Callable[[Subject, Any], None]] = {
        "captioners": texts.check_captioner, "translators": texts.check_translator, "rewriters": texts.check_rewriter,
        "identifiers": texts.check_identifier, "importers": samples.check_importer, "evalsets": samples.check_evalset,
        "stages": samples.check_stage, "commands": programs.check_command, "exporters": programs.check_exporter,
        "engines": programs.check_engine,
    }  # fmt: skip
    try:
        contracts[subject.kind](subject, check_installed(subject))
    except Stopped:
        return
