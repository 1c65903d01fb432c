"""Apertium, a rule-based program: small, with many languages of Europe that neural packages lack."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language, get
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._route import Pair, by_chain, languages_reached, route

# Apertium ends a sentence at a blank line, not at a single line break: captions on consecutive lines would be
# translated as one text. (Its own line format loses the full stop at the end of a line.)
_BETWEEN = "\n\n"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a zero byte flushes Apertium's pipe
_DATA = "/usr/share/apertium"
_PATH = re.compile(r"(?<=')/[^']+(?=')|/[^'\"\s|]+")  # quoted ones may have spaces
_TEXTS_PER_PROCESS = 5000  # limits memory and what a failure loses; starting a process takes 0.1 s


class Apertium:
    """A chain of Apertium modes. Calling it translates texts, in order, many per process."""

    def __init__(self, modes: Sequence[str], by: str) -> None:
        self.modes = list(modes)
        self.by = by
        self.version = " | ".join(versions) if all(versions := [_version(mode) for mode in modes]) else ""

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Translate texts, equal ones once. White space is collapsed, as a caption is one line."""
        flat = [" ".join(_CONTROL.sub(" ", text).split()) for text in texts]
        distinct = [text for text in dict.fromkeys(flat) if text]
        translated = distinct
        for mode in self.modes:
            translated = _translate(mode, translated)
        translations = dict(zip(distinct, translated, strict=True))
        return [translations.get(text, "") for text in flat]


def load(variant: str, *, source: str, target: str, setup: Setup) -> Apertium:
    """The installed modes for a pair of languages, through pivot languages when there is no direct mode.

    ``variant`` names a mode ("eng-cat_valencia"); "" is the plain one. Raises ``CapivaraError`` when
    Apertium or the pair is not installed; the error names the packages to install. ``setup`` is not used.
    """
    start, end = get(source), get(target)
    modes = _installed_modes(start, end)
    if variant:
        if variant not in modes:
            raise CapivaraError(f"apertium: unknown mode {variant!r}; the modes are {', '.join(sorted(modes))}")
        return Apertium([variant], f"apertium:{variant}")
    # A mode with a suffix ("eng-cat_valencia") is a variety, used only when the user names it.
    plain = {pair: mode for mode, pair in modes.items() if "_" not in mode}
    chain = _chain(plain, start, end)
    if not chain:
        raise CapivaraError(
            f"apertium: no installed mode translates {start.name} to {end.name}; "
            f"{languages_reached(plain, start, _codes(start))}",
            f"{_how_to_install(start, end)}\n"
            f"`apt-cache search apertium-` lists the pairs of your system; "
            f"a pair through a third language needs the packages of both pairs",
        )
    return Apertium([plain[pair] for pair in chain], by_chain("apertium", chain))


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The checksums of the language data of a pair, of all installed modes without a ``source``; None without them."""
    modes = _modes()
    if variant:
        names = [variant]
    elif source is None:
        names = sorted(modes)
    else:
        plain = {pair: mode for mode, pair in modes.items() if "_" not in mode}
        names = [plain[pair] for pair in _chain(plain, get(source), get(target))]
    found = [_version(name) for name in names]
    return " | ".join(found) if found and all(found) else None


def _version(mode: str) -> str:
    """A mode with a hash of the program, of the file of the mode and of all files that it names; "" without that file.

    Apertium reports no version of its language data.
    """
    folder = Path(os.environ.get("APERTIUM_DATADIR") or _DATA)
    program, steps = Path(shutil.which("apertium") or ""), folder / "modes" / f"{mode}.mode"
    try:
        named = dict.fromkeys(_PATH.findall(steps.read_text("utf-8")))
        digest = hashlib.sha256()
        for path in (program, steps, *map(Path, named)):
            if path.is_file():
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    except (OSError, ValueError):
        return ""
    return f"{mode} {digest.hexdigest()[:16]}"


def hops(start: Language, end: Language) -> int:
    """The length of the shortest chain of installed modes for a pair; 0 without one or without Apertium."""
    if shutil.which("apertium") is None:
        return 0
    plain = {pair: mode for mode, pair in _installed_modes(start, end).items() if "_" not in mode}
    return len(_chain(plain, start, end))


def _chain(plain: dict[Pair, str], start: Language, end: Language) -> list[Pair]:
    """A chain of installed pairs; pairs may spell a language differently (``eng-spa``, ``es-pt``)."""
    spelled = {(_two_letters(pair[0]), _two_letters(pair[1])): pair for pair in sorted(plain, reverse=True)}
    sources = dict.fromkeys(_two_letters(code) for code in _codes(start))
    targets = dict.fromkeys(_two_letters(code) for code in _codes(end))
    return [spelled[hop] for hop in route(spelled, sources, targets)]


def _two_letters(code: str) -> str:
    """``eng`` and ``en`` -> "en"; an unknown code is unchanged, and so is ``hbs``, which means three languages."""
    if code == "hbs":
        return code
    try:
        return get(code).code
    except CapivaraError:
        return code


def _codes(language: Language) -> tuple[str, ...]:
    return (*language.apertium, language.code)


def _installed_modes(start: Language, end: Language) -> dict[str, Pair]:
    """The output of ``apertium -l``: mode -> pair."""
    if shutil.which("apertium") is None:
        raise CapivaraError("apertium: the program is not installed", _how_to_install(start, end))
    return _modes()


def installed() -> list[Pair]:
    """The (from, to) pairs of the plain modes, for ``capivara list languages``; none without the program."""
    return [pair for mode, pair in _modes().items() if "_" not in mode]


def _modes() -> dict[str, Pair]:
    program = shutil.which("apertium")
    if program is None:
        return {}
    listing = subprocess.run([program, "-l"], capture_output=True, text=True, encoding="utf-8", check=False)
    modes: dict[str, Pair] = {}
    for mode in listing.stdout.split():
        if match := re.fullmatch(r"([a-z]{2,3})(?:_\w+)?-([a-z]{2,3})(?:_\w+)?", mode):
            modes[mode] = (match[1], match[2])
    return modes


def _how_to_install(start: Language, end: Language) -> str:
    """Debian names a package after the pair, in either order."""
    first, last = (language.apertium[0] if language.apertium else language.code for language in (start, end))
    return f"apt install apertium apertium-{first}-{last}    (or apertium-{last}-{first}, which has both directions)"


def _translate(mode: str, texts: list[str]) -> list[str]:
    translated: list[str] = []
    for start in range(0, len(texts), _TEXTS_PER_PROCESS):
        translated += _one_process(mode, texts[start : start + _TEXTS_PER_PROCESS])
    return translated


def _one_process(mode: str, texts: list[str]) -> list[str]:
    """Translate in one process. If the number of paragraphs changes, translate halves until one text is the cause."""
    if not texts:
        return []
    answer = _run(mode, _BETWEEN.join(texts) + _BETWEEN)
    lines = [" ".join(part.split()) for part in answer.removesuffix(_BETWEEN).split(_BETWEEN)]
    if len(lines) == len(texts):
        return lines
    if len(texts) == 1:
        return [" ".join(answer.split())]
    middle = len(texts) // 2
    return _one_process(mode, texts[:middle]) + _one_process(mode, texts[middle:])


def _run(mode: str, text: str) -> str:
    command = ["apertium", "-u", mode]
    finished = subprocess.run(command, input=text.encode("utf-8", "replace"), capture_output=True, check=False)
    if finished.returncode != 0:
        problem = finished.stderr.decode("utf-8", "replace").strip() or f"exit status {finished.returncode}"
        raise CapivaraError(f"apertium: {' '.join(command)} failed: {problem.splitlines()[-1]}")
    return finished.stdout.decode("utf-8", "replace")
