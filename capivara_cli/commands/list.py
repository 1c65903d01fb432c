"""List the choices: languages, captioners, translators, rewriters, models, evalsets, recipes and so on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from capivara_cli import console, languages, registry
from capivara_cli.errors import CapivaraError, UsageError, unknown
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Rows = Sequence[dict[str, Any]]

MODEL_FORMS = {
    "toy": "the small model that is part of capivara",
    "hf-hub:ORG/NAME": "an open_clip model on the Hugging Face hub",
    "local-dir:PATH": "a folder with open_clip_config.json and weights",
    "mclip:NAME": "a text tower of M-CLIP, with the image tower it was trained on",
    "RUN": "a run folder of capivara train: its base model and its adapter",
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
        console.page("".join(_printed(kind, rows, brief=not inputs) for kind, rows in listed.items()))
    return {kind: [*rows] for kind, rows in listed.items()}


def _printed(kind: str, rows: Rows, *, brief: bool) -> str:
    if brief and len(rows) > 12:
        return f"{kind}: {len(rows)}, see capivara list {kind}\n\n"
    cells = [[console.printable(str(cell)) for cell in row.values()] for row in rows]
    title = f"{kind}\n" if brief else ""
    return f"{title}{console.table(cells, rows[0]) if rows else 'none'}\n" + ("\n" if brief else "")


def _plugins(kind: str) -> Callable[[], Rows]:
    return lambda: [{"name": name, "what it is": registry.describe(kind, name)} for name in registry.names(kind)]


def _evalsets() -> Rows:
    """Every eval set with the languages of its captions or class names, then the names of groups of sets."""
    from capivara_cli.evaluation import catalogue

    sets = [
        {"name": name, "languages": _some(catalogue.languages(name)), "what it is": catalogue.describe(name)}
        for name in catalogue.names()
    ]
    groups = [
        {"name": name, "languages": "", "what it is": f"{len(members)} sets: {members[0]} to {members[-1]}"}
        for name, members in catalogue.groups().items()
    ]
    return [*sets, *groups]


def _some(codes: Sequence[str]) -> str:
    return " ".join(codes) if len(codes) <= 12 else f"{len(codes)} languages"


def _languages() -> Rows:
    """Every language, and the installed translators into it with the language they translate from."""
    into: dict[str, dict[str, None]] = {}
    for translator in registry.names("translators"):
        # A translator that installs language pairs has a function that lists them.
        pairs: Iterable[tuple[str, str]] = getattr(registry.module("translators", translator), "installed", tuple)()
        for start, end in pairs:
            into.setdefault(_code(end), {})[f"{translator} from {_code(start)}"] = None
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


def _code(name: str) -> str:
    """The code of a language as capivara writes it; the name itself for a language it does not know."""
    try:
        return languages.get(name).code
    except CapivaraError:
        return name


def _recipes() -> Rows:
    """Every recipe of ``capivara adapt --recipe``, with its language if it names one."""
    from pathlib import Path

    heads = {name: tomllib.loads(Path(file).read_text("utf-8")) for name, file in registry.recipes().items()}
    return [{"name": name, "lang": head.get("lang", ""), "what it is": head["about"]} for name, head in heads.items()]


def _models() -> Rows:
    """The forms that ``--model`` accepts, then open_clip's architectures with a multilingual text tower."""
    forms = [{"model": name, "text": text, "tokens": "", "image": ""} for name, text in MODEL_FORMS.items()]
    return [*forms, *_architectures()]


def _architectures() -> Rows:
    """Read from open_clip's configuration files: importing it would take seconds."""
    import importlib.util
    import json
    from pathlib import Path

    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        return []
    rows = []
    for path in sorted((Path(found.submodule_search_locations[0]) / "model_configs").glob("*.json")):
        config = json.loads(path.read_text("utf-8"))
        text = config.get("text_cfg", {})
        tower = text.get("hf_model_name") or text.get("hf_tokenizer_name") or ""
        if any(mark in tower.lower() for mark in _MULTILINGUAL):
            size = config.get("vision_cfg", {}).get("image_size", "")
            rows.append({"model": path.stem, "text": tower, "tokens": text.get("context_length", 77), "image": size})
    return rows


KINDS: dict[str, Callable[[], Rows]] = {
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
