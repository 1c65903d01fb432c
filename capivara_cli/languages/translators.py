"""Translators by name, and the pairs of languages that those of other packages declare.

A translator of another package may have a function ``pairs()``, which returns the (source, target) codes that it
translates, or "any". Another pair is refused before any work; one without the function is asked when it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

from capivara_cli import console, languages, plugin_errors, registry
from capivara_cli.errors import CapivaraError, Unsupported
from capivara_cli.plugin_errors import PluginError

KIND = "translators"
ANY = "any"
_MOST_SHOWN = 12
Pair = tuple[str, str]
"""The codes of a source and a target language."""


def load(spec: str, *, source: str, target: str, setup: Any) -> Any:
    """Load the translator ``NAME`` or ``NAME:VARIANT`` of a pair, as ``registry.load`` does.

    Raises ``Unsupported`` for a pair that it does not declare.
    """
    _check_pairs(spec, [(source, target)])
    return registry.load(KIND, spec, source=source, target=target, setup=setup)


def check(spec: str, pairs: Iterable[Pair] = ()) -> None:
    """Raise ``CapivaraError`` if there is no such translator, ``Unsupported`` for a pair that it does not declare.

    Only translators of other packages are imported.
    """
    registry.check(KIND, spec)
    _check_pairs(spec, pairs)


def _check_pairs(spec: str, pairs: Iterable[Pair]) -> None:
    origin = registry.origin(KIND, spec)
    declared = pairs_of(spec) if origin else None
    if origin is None or declared is None or isinstance(declared, str):
        return
    for source, target in pairs:
        if (languages.code_of(source), languages.code_of(target)) not in declared:
            raise _unsupported(origin, source, target, declared)


def pairs_of(spec: str) -> frozenset[Pair] | str | None:
    """The pairs that a translator declares, in codes of the table; "any", or None if it declares nothing.

    Raises ``PluginError`` if the plugin cannot be imported or returns anything else.
    """
    plugin = registry.module(KIND, spec.partition(":")[0])
    pairs = getattr(plugin, "pairs", None)
    if pairs is None:
        return None
    found = pairs() if callable(pairs) else pairs
    if found == ANY:
        return ANY
    return frozenset(_in_codes(plugin, list(found) if isinstance(found, Set) else found))


def ready_pairs(name: str) -> list[Pair]:
    """The pairs that a translator has on this machine: those of its function ``installed``, or else those it declares.

    Raises ``PluginError`` as ``pairs_of`` does.
    """
    plugin = registry.module(KIND, name)
    if hasattr(plugin, "installed"):
        return _in_codes(plugin, plugin.installed(), known=False)
    declared = pairs_of(name)
    return [] if declared is None or isinstance(declared, str) else sorted(declared)


def added(source: str, target: str) -> tuple[list[str], list[str]]:
    """The translators of other packages that declare a pair, and those that declare any pair.

    One that cannot be asked is named in a warning.
    """
    direct, general = [], []
    for name in registry.names(KIND):
        try:
            declared = pairs_of(name) if registry.origin(KIND, name) else None
        except PluginError as error:
            console.warn_once(f"{error.message}; auto does without it")
            continue
        if isinstance(declared, str):
            general.append(name)
        elif declared and (source, target) in declared:
            direct.append(name)
    return direct, general


def _in_codes(plugin: Any, answer: Any, *, known: bool = True) -> list[Pair]:
    """An answer of a plugin as pairs of codes. ``known``: only of languages in the table."""
    found = []
    for pair in plugin_errors.as_list(plugin, answer, "pairs of languages"):
        source, target = plugin_errors.texts(plugin, pair, 2, "codes", " of a pair")
        try:
            if known:
                source, target = languages.get(source).code, languages.get(target).code
        except CapivaraError as error:
            raise plugin_errors.fault(plugin, f"its pair {source}-{target}: {error.message}") from error
        found.append((languages.code_of(source), languages.code_of(target)))
    return found


def _unsupported(origin: str, source: str, target: str, declared: Iterable[Pair]) -> Unsupported:
    names = " to ".join(f"{languages.get(code).name} ({code})" for code in (source, target))
    known = sorted(declared)
    chosen = [pair for pair in known if source in pair or target in pair] or known
    shown = ", ".join("-".join(pair) for pair in chosen[:_MOST_SHOWN]) or "nothing"
    more = f" and {len(known) - len(chosen[:_MOST_SHOWN])} more pairs" if len(known) > len(chosen[:_MOST_SHOWN]) else ""
    message = f"{origin} does not translate {names}; it translates {shown}{more}"
    return Unsupported(message, "choose another --translator: capivara list translators")
