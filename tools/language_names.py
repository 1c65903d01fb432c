"""Write the names of languages, regions and scripts in CLDR to `capivara_cli/languages/cldr.tsv`.

`pip install babel`, then `python -m tools.language_names`. Babel packs the tables of CLDR, the Unicode Consortium's
repository of locale data; capivara itself does not need it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from babel import Locale, localedata
from babel.core import get_global

TARGET = Path(__file__).parents[1] / "capivara_cli" / "languages" / "cldr.tsv"
ENGLISH = Locale("en")


def main() -> None:
    """Write one line per language, region, script and orthography: kind, code, names.

    The lines of kind "written" have the languages that are usually written in a script.
    """
    lines = ["kind\tcode\tnames"]
    tables = {"language": languages(), "region": regions(), "script": scripts(), "written": usual_scripts()}
    for kind, table in tables.items():
        lines += ["\t".join([kind, code, *_distinct(table[code])]) for code in sorted(table)]
    lines += [f"variant\t{code.lower()}\t{name}" for code, name in sorted(ENGLISH.variants.items())]
    TARGET.write_text("\n".join(lines) + "\n", "utf-8")


def languages() -> dict[str, list[str]]:
    """BCP-47 tag -> its other codes, English name and own name, and the names of its regional forms: ``pt-BR``."""
    found = {_tag(code): [name] for code, name in ENGLISH.languages.items()}
    for code, others in get_global("language_aliases").items():
        if len(others.split("_")[0]) < 4 and "_" not in code:
            found.setdefault(_tag(others), []).insert(0, code)
    for locale in _locales():
        own = {code: name for code, name in locale.languages.items() if code.split("_")[0] == locale.language}
        for code, name in own.items():
            found.setdefault(_tag(code), []).append(name)
    return found


def regions() -> dict[str, list[str]]:
    """Region -> its code of three letters, its English name, and its name in each language spoken there."""
    found = {code: [name] for code, name in ENGLISH.territories.items() if code != "ZZ"}
    for code, others in get_global("territory_aliases").items():
        if code.isalpha() and len(others) == 1 and others[0] in found:
            found[others[0]].append(code)
    for locale in _locales():
        if locale.territory in found:
            found[locale.territory].append(locale.territories.get(locale.territory, ""))
    return found


def scripts() -> dict[str, list[str]]:
    """Script -> its English name, and its name in each language that is written in several scripts."""
    found = {code: [name] for code, name in ENGLISH.scripts.items()}
    for locale in _locales():
        if locale.script in found:
            found[locale.script].append(locale.scripts.get(locale.script, ""))
    return found


def usual_scripts() -> dict[str, list[str]]:
    """Script -> the languages that are usually written in it."""
    likely = get_global("likely_subtags")
    found: dict[str, list[str]] = {}
    for code in sorted(ENGLISH.languages):
        if code in likely and "_" not in code:
            found.setdefault(likely[code].split("_")[1], []).append(code)
    return found


def _locales() -> Iterator[Locale]:
    for identifier in localedata.locale_identifiers():
        if identifier != "root" and not identifier.endswith(("POSIX", "VALENCIA", "TARASK")):
            yield Locale.parse(identifier)


def _tag(code: str) -> str:
    return code.replace("_", "-")


def _distinct(names: list[str]) -> list[str]:
    """The names without repetitions of other case, and without what is no name: empty ones and those with digits."""
    kept: dict[str, str] = {}
    for name in names:
        name = " ".join(unicodedata.normalize("NFC", name).split())
        if name and not any(char.isdigit() for char in name):
            kept.setdefault(name.casefold(), name)
    return list(kept.values())


if __name__ == "__main__":
    main()
