"""Read class names and prompt templates from files: one per line, or JSON with a list per language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.evaluation.evalset import Classes, check_names, check_templates
from capivara_cli.languages import code_of

UNKNOWN_LANGUAGE = "und"
_PLAIN = ("{}",)


def read(classes: str, templates: str, langs: Sequence[str]) -> tuple[dict[str, Classes], dict[str, tuple[str, ...]]]:
    """Language -> classes from the file ``classes``, and language -> templates from the file ``templates``.

    The result for a file "" is {}. Raises ``CapivaraError`` for empty or repeated names, lists of different lengths, a
    language of ``langs`` without names or templates, and a template without a placeholder for the name.
    """
    prompts = _by_language(templates, langs) if templates else {}
    for lang, each in prompts.items():
        check_templates(each, f"{templates} ({lang})")
    if prompts and (missing := [lang for lang in langs if lang not in prompts]):
        raise CapivaraError(f"{templates}: no templates in {', '.join(missing)}; there are {', '.join(prompts)}")
    found = {lang: tuple(each) for lang, each in prompts.items()}
    return _classes(classes, found, templates, langs) if classes else {}, found


def _classes(
    classes: str, prompts: dict[str, tuple[str, ...]], templates: str, langs: Sequence[str]
) -> dict[str, Classes]:
    names = _by_language(classes, langs)
    wanted = list(langs) or list(names)
    for lang, each in names.items():
        check_names(each, f"{classes} ({lang})")
        if len(each) != len(next(iter(names.values()))):
            counts = ", ".join(f"{lang} {len(each)}" for lang, each in names.items())
            raise CapivaraError(f"{classes}: the languages have different numbers of classes: {counts}")
    if missing := [lang for lang in wanted if lang not in names]:
        raise CapivaraError(f"{classes}: no class names in {', '.join(missing)}; there are {', '.join(names)}")
    if prompts and (missing := [lang for lang in wanted if lang not in prompts]):
        raise CapivaraError(f"{templates}: no templates in {', '.join(missing)}; there are {', '.join(prompts)}")
    return {lang: Classes(tuple(names[lang]), prompts.get(lang, _PLAIN), names_by=classes) for lang in wanted}


def _by_language(file: str, langs: Sequence[str]) -> dict[str, list[str]]:
    try:
        text = Path(file).read_text("utf-8-sig")
    except FileNotFoundError:
        raise CapivaraError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    if not text.lstrip().startswith('{"') and not file.endswith(".json"):
        return _one_language(file, [line.strip() for line in text.splitlines() if line.strip()], langs)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CapivaraError(f"{file}: not JSON: {error}") from error
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return _one_language(file, found, langs)
    if not isinstance(found, dict) or not all(_is_texts(each) for each in found.values()) or not found:
        raise CapivaraError(f'{file}: not {{"pt": ["name", …], …}}', "or one name per line")
    return {code_of(lang): each for lang, each in found.items()}


def _one_language(file: str, lines: list[str], langs: Sequence[str]) -> dict[str, list[str]]:
    if len(langs) > 1:
        raise UsageError(
            f"{file} holds one list, and --lang names {len(langs)} languages",
            'give JSON with a list for each: {"pt": […], "hi": […]}',
        )
    return {langs[0] if langs else UNKNOWN_LANGUAGE: lines}


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
