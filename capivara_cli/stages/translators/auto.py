"""The best available translator for a pair of languages; prints which one it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from capivara_cli import console, registry
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language, get, translators
from capivara_cli.languages.translation_memory import Translator
from capivara_cli.models import hub
from capivara_cli.models.generation import Setup
from capivara_cli.plugin_errors import PluginError
from capivara_cli.stages.translators import apertium, argos, m2m100, madlad, nllb, opus

Load = Callable[..., Translator]


def load(variant: str, *, source: str, target: str, setup: Setup) -> Translator:
    """The first translator that works: first those on this machine, direct ones before chains, then downloads.

    The order: plugins of other packages that declare the pair; an Argos package of it, which is small and fast; models
    that translate the pair directly, those for one pair before those for many; plugins for any pair; Apertium; then
    chains through a third language, which lose meaning twice.
    Raises ``CapivaraError`` with every translator's reason if none works. ``variant`` is not used.
    """
    start, end = get(source), get(target)
    reasons: list[str] = []
    for name, load_plugin in _candidates(start, end):
        try:
            found = load_plugin("", source=source, target=target, setup=setup)
        except PluginError as error:
            console.warn_once(f"{error.message}; auto does without it")
        except CapivaraError as error:
            reasons.append(f"{name}: {error.message.removeprefix(f'{name}: ')}")
        else:
            console.say(f"translate: {start.name} to {end.name} by {found.by}")
            return found
    raise CapivaraError(
        f"auto: nothing translates {start.name} to {end.name} here",
        "\n".join([*dict.fromkeys(reasons), "capivara list translators shows all translators"]),
    )


def _candidates(start: Language, end: Language) -> Iterator[tuple[str, Load]]:
    direct_plugins, plugins = translators.added(start.code, end.code)
    yield from map(_plugin, direct_plugins)
    hops = argos.hops(start, end)
    if hops == 1:
        yield "argos", argos.load
    models: list[tuple[str, str, Load]] = [
        ("opus", opus.default(start, end), opus.load),
        ("nllb", nllb.FAMILY.default, nllb.load),
        ("madlad", madlad.FAMILY.default, madlad.load),
        ("m2m100", m2m100.FAMILY.default, m2m100.load),
    ]
    cached = [hub.is_cached(repo) for _, repo, _ in models]
    yield from ((name, load) for (name, _, load), is_cached in zip(models, cached, strict=True) if is_cached)
    yield from map(_plugin, plugins)
    direct = apertium.hops(start, end) == 1
    if direct:
        yield "apertium", apertium.load
    if hops > 1:
        yield "argos", argos.load
    if not direct:
        yield "apertium", apertium.load
    if not hops:
        yield "argos", argos.load  # downloads the package, if there is one
    downloads = zip(models[:2], cached[:2], strict=True)
    yield from ((name, load) for (name, _, load), is_cached in downloads if not is_cached)


def _plugin(name: str) -> tuple[str, Load]:
    def load_plugin(variant: str, **given: Any) -> Translator:
        return registry.load("translators", name, **given)  # type: ignore[no-any-return]

    return name, load_plugin


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The first translator of a pair that is on this machine, and its identity; None if there is none."""
    if source is None:
        return None
    for name, _ in _candidates(get(source), get(target)):
        if name not in _IDENTITIES:
            return registry.origin("translators", name)
        found = _IDENTITIES[name]("", source=source, target=target, base_url=base_url)
        if found is not None:
            return f"{name} {found}"
    return None


_IDENTITIES: dict[str, Callable[..., str | None]] = {
    "argos": argos.identity, "opus": opus.identity, "nllb": nllb.identity, "madlad": madlad.identity,
    "m2m100": m2m100.identity, "apertium": apertium.identity,
}  # fmt: skip
