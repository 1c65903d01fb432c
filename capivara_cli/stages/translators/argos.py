"""Argos Translate packages, run by CTranslate2: open models, offline once downloaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language, get
from capivara_cli.models.generation import Setup
from capivara_cli.pipeline.option_kinds import Names
from capivara_cli.stages.translators import _argos_index
from capivara_cli.stages.translators._package import ArgosChain, pairs_in, read_metadata, unpack
from capivara_cli.stages.translators._route import Pair, languages_reached, route

INDEX = "the Argos package index, https://www.argosopentech.com/argospm/index/"


def load(variant: str, *, source: str, target: str, setup: Setup) -> ArgosChain:
    """A translator from the installed packages, or from those that ``variant`` names.

    ``variant`` is "" or a comma-separated list of ``.argosmodel`` files and folders of packages. A pair that is not
    installed is downloaded; without a direct pair, a chain through other languages is used and recorded. Raises
    ``CapivaraError`` that names the package to install if neither is possible.
    """
    start, end = get(source), get(target)
    if not start.argos and not variant:
        raise _no_code(start)
    if not end.argos and not variant:
        raise _no_code(end)
    folders = _named_packages(variant) if variant else pairs_in(packages_folder())
    chain = _chain(folders, start, end)
    if not chain and variant:
        reached = languages_reached(folders, start, _codes(start))
        raise CapivaraError(f"argos: {variant} does not translate {start.name} to {end.name}; {reached}")
    if not chain:
        _install(start, end)
        folders = pairs_in(packages_folder())
        chain = _chain(folders, start, end)
    if not chain:
        raise _missing(start, end, "its package was installed but cannot be found")
    return ArgosChain("argos", folders, chain, setup)


def installed() -> list[Pair]:
    """The (from, to) pairs of the installed packages, for ``capivara list languages``."""
    return [*pairs_in(packages_folder())]


def packages_folder() -> Path:
    """The folder in which Argos Translate installs packages.

    Argos Translate is not imported for it, as its import creates folders and takes a second.
    """
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "argos-translate" / "settings.json"
    chosen = os.environ.get("ARGOS_PACKAGES_DIR")
    if not chosen and settings.is_file():
        try:
            chosen = json.loads(settings.read_text("utf-8")).get("ARGOS_PACKAGES_DIR")
        except (ValueError, AttributeError):
            console.warn(f"{settings} is not a JSON object and is ignored")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return Path(chosen) if chosen else data / "argos-translate" / "packages"


def _codes(language: Language) -> tuple[str, ...]:
    """Codes of the language in packages: its Argos codes, else its own code (packages by other authors)."""
    return language.argos or (language.code,)


def _chain(folders: dict[Pair, Path], start: Language, end: Language) -> list[Pair]:
    return route(folders, _codes(start), _codes(end))


def _named_packages(variant: str) -> dict[Pair, Path]:
    """The packages of a comma-separated list of files and folders."""
    folders: dict[Pair, Path] = {}
    for name in Names().parse(variant):
        path = Path(name).expanduser()
        if (path / "metadata.json").is_file() or path.is_file():
            folder = path if path.is_dir() else unpack(path)
            metadata = read_metadata(folder)
            folders[metadata["from_code"], metadata["to_code"]] = folder
        elif path.is_dir():
            folders.update(pairs_in(path))
            for file in sorted(path.glob("*.argosmodel")):
                folders.update(_named_packages(str(file)))
        else:
            raise CapivaraError(f"argos: no such package: {name}", f"download one from {INDEX}")
    return folders


def _install(start: Language, end: Language) -> None:
    """Download and install the packages of the shortest chain the index offers."""
    console.say(f"argos: {start.code}-{end.code} is not installed; reading the Argos package index")
    try:
        available = _argos_index.available()
    except CapivaraError as error:
        raise _missing(start, end, f"the Argos package index cannot be reached: {error.message}") from error
    installed = pairs_in(packages_folder())
    chain = route([*available, *installed], _codes(start), _codes(end))
    if not chain:
        raise CapivaraError(
            f"argos: no package translates {start.name} to {end.name}, not even through another language",
            languages_reached(available, start, _codes(start)) + "\nor use --translator apertium",
        )
    for pair in chain:
        if pair not in installed:
            console.say(f"argos: downloading {pair[0]}-{pair[1]} (50 to 250 MB)")
            try:
                _argos_index.install(available[pair], packages_folder())
            except CapivaraError as error:
                why = f"the package {pair[0]}-{pair[1]} cannot be downloaded: {error.message}"
                raise _missing(start, end, why, pair) from error


def _missing(start: Language, end: Language, why: str, pair: Pair | None = None) -> CapivaraError:
    first, last = pair or (_codes(start)[0], _codes(end)[0])
    return CapivaraError(
        f"argos: {start.name} to {end.name} is not installed and {why}",
        f"download translate-{first}_{last}.argosmodel (50 to 250 MB) from {INDEX}\n"
        f"and name it with --package FILE, or put its folder into {packages_folder()};\n"
        f"or use --translator apertium",
    )


def _no_code(language: Language) -> CapivaraError:
    return CapivaraError(
        f"argos: the Argos package index has no package for {language.name}",
        "name a package of your own with --package FILE.argosmodel, or use --translator apertium",
    )


def hops(start: Language, end: Language) -> int:
    """The length of the shortest chain of installed packages for a pair; 0 without one."""
    return len(_chain(pairs_in(packages_folder()), start, end))


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The versions and checksums of the installed packages of a pair, of all packages without a ``source``.

    None if none is installed; "" for named packages, whose files are part of the plan.
    """
    if variant:
        return ""
    folders = pairs_in(packages_folder())
    chain = _chain(folders, get(source), get(target)) if source else [*folders]
    return ArgosChain("argos", folders, chain, Setup("cpu")).version if chain else None
