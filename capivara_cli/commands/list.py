"""List what you can choose from: languages, captioners, translators, rewriters, models, eval sets, recipes …

capivara list translators prints one table; without an argument, all tables; long ones only as a count.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from capivara_cli import console, languages, plugins, registry
from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.plugins import PluginError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Row = dict[str, str | int]
Answer = TypeVar("Answer")

MODEL_FORMS = {
    "toy": "the small model that is part of capivara",
    "hf-hub:ORG/NAME": "an open_clip model on the Hugging Face hub",
    "local-dir:PATH": "a folder with open_clip_config.json and weights",
    "mclip:NAME": "a text tower of M-CLIP, with the image tower it was trained on",
    "RUN": "a run folder of capivara train: its base model with its adapter",
}
_MULTILINGUAL = ("xlm", "mt5", "nllb", "siglip2", "i18n")  # in the name of a text tower or its tokenizer


@dataclass(frozen=True)
class Options:
    """No options: the argument names the kind to list."""


def run(inputs: Sequence[str], options: Options, env: Env) -> dict[str, Any]:
    """Print one table for each kind named; without a name, a table for every kind."""
    for kind in inputs:
        if kind not in KINDS:
            error = unknown("kind", kind, KINDS)
            raise UsageError(error.message, "capivara list languages")
    listed = {kind: KINDS[kind]() for kind in inputs or KINDS}
    if not env.json:
        console.print_result("".join(_printed(kind, rows, brief=not inputs) for kind, rows in listed.items()))
    return {kind: [*rows] for kind, rows in listed.items()}


def _printed(kind: str, rows: Sequence[Row], *, brief: bool) -> str:
    """The table of a kind; ``brief`` gives it a title, or replaces a long table by its number of rows."""
    if brief and len(rows) > 12:
        return f"{kind}: {len(rows)}, see capivara list {kind}\n\n"
    cells = [[console.printable(str(cell)) for cell in row.values()] for row in rows]
    title = f"{kind}\n" if brief else ""
    return f"{title}{console.table(cells, rows[0], result=True) if rows else 'none'}\n" + ("\n" if brief else "")


def _plugins(kind: str) -> Callable[[], Sequence[Row]]:
    return lambda: [{"name": name, "what it is": registry.describe(kind, name)} for name in registry.names(kind)]


def _answer(kind: str, name: str, question: Callable[[], Answer], default: Answer) -> Answer:
    """What a plugin answers; ``default``, with a warning, for a broken plugin: it must not hide the others."""
    try:
        return question()
    except PluginError as error:
        console.warn(error.message)
    except (CapivaraError, OSError) as error:
        console.warn(f"{kind.removesuffix('s')} {name} cannot be used: {' '.join(str(error).split())}")
    return default


def _evalsets() -> Sequence[Row]:
    """Every eval set with the languages of its captions or class names, then the groups of sets."""
    from capivara_cli.evaluation import catalogue

    sets: Sequence[Row] = [
        {
            "name": name,
            "languages": _some(_answer("evalsets", name, functools.partial(catalogue.languages, name), ())),
            "what it is": catalogue.describe(name),
        }
        for name in catalogue.names()
    ]
    groups: Sequence[Row] = [
        {"name": name, "languages": "", "what it is": f"{len(members)} sets: {members[0]} to {members[-1]}"}
        for name, members in catalogue.groups().items()
    ]
    return [*sets, *groups]


def _some(codes: Sequence[str]) -> str:
    return " ".join(codes) if len(codes) <= 12 else f"{len(codes)} languages"


def _languages() -> Sequence[Row]:
    """Every language, with the installed translators into it and the language each translates from."""
    into: dict[str, dict[str, None]] = {}
    none: Sequence[tuple[str, str]] = ()
    for translator in registry.names("translators"):
        for source, target in _answer("translators", translator, functools.partial(_installed_pairs, translator), none):
            into.setdefault(target, {})[f"{translator} from {source}"] = None
    known = (languages.get(code) for code in languages.all_codes())
    return [
        {
            "code": each.code,
            "name": each.name,
            "script": each.script,
            "argos": each.argos[0] if each.argos else "",
            "apertium": each.apertium[0] if each.apertium else "",
            "flores": each.flores,
            "installed": ", ".join(into.get(each.code, ())),
        }
        for each in known
    ]


def _installed_pairs(translator: str) -> Sequence[tuple[str, str]]:
    """(source, target) codes of each installed language pair; none for a translator that installs no pairs."""
    plugin = registry.module("translators", translator)
    if not hasattr(plugin, "installed"):
        return []
    pairs = [plugins.texts(plugin, pair, 2, "codes") for pair in plugins.as_list(plugin, plugin.installed(), "pairs")]
    return [(languages.code_of(source), languages.code_of(target)) for source, target in pairs]


def _recipes() -> Sequence[Row]:
    """Every recipe of ``capivara adapt --recipe``, with its language if it names one."""
    from pathlib import Path

    heads = {name: tomllib.loads(Path(file).read_text("utf-8")) for name, file in registry.recipes().items()}
    return [{"name": name, "lang": head.get("lang", ""), "what it is": head["about"]} for name, head in heads.items()]


def _models() -> Sequence[Row]:
    """The forms that ``--model`` accepts, then open_clip's architectures with a multilingual text tower."""
    forms: Sequence[Row] = [
        {"model": name, "text": text, "tokens": "", "image": ""} for name, text in MODEL_FORMS.items()
    ]
    return [*forms, *_architectures()]


def _architectures() -> Sequence[Row]:
    """The rows of open_clip's architectures with a multilingual text tower."""
    import json

    from capivara_cli.models.clip_files import architecture_files

    rows = []
    for path in architecture_files():
        config = json.loads(path.read_text("utf-8"))
        text = config.get("text_cfg", {})
        tower = text.get("hf_model_name") or text.get("hf_tokenizer_name") or ""
        if any(mark in tower.lower() for mark in _MULTILINGUAL):
            size = config.get("vision_cfg", {}).get("image_size", "")
            row: Row = {"model": path.stem, "text": tower, "tokens": text.get("context_length", 77), "image": size}
            rows.append(row)
    return rows


KINDS: dict[str, Callable[[], Sequence[Row]]] = {
    "languages": _languages,
    "captioners": _plugins("captioners"),
    "translators": _plugins("translators"),
    "rewriters": _plugins("rewriters"),
    "models": _models,
    "evalsets": _evalsets,
    "importers": _plugins("importers"),
    "exporters": _plugins("exporters"),
    "engines": _plugins("engines"),
    "recipes": _recipes,
}

list = command("list", Options, "KIND")(run)  # noqa: A001  a command is found under its own name
