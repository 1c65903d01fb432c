"""The catalogue of eval sets: the plugins in ``sets/``, the labelled sets in ``sets/labels/``, and groups of those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from capivara_cli import console, plugin_errors, registry
from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet
from capivara_cli.evaluation.sets import _labelled
from capivara_cli.pipeline.env import Env
from capivara_cli.plugin_errors import Guarded
from capivara_cli.shards.sample import Sample

KIND = "evalsets"
_FROM_PATHS = ("wds", "folder")  # sets called ``name:PATH``, in the order in which they are tried on a folder
_LABELS = ("paper",)


def names() -> list[str]:
    """The names of all sets, without the groups. A plugin with the name of a labelled set is named in a warning."""
    plugins, labelled = registry.names(KIND), _labelled.names()
    for name in set(labelled) & set(plugins):
        console.warn_once(f"{registry.origin(KIND, name)}: capivara has one of this name, which is used instead")
    return sorted({*plugins, *labelled})


def describe(name: str) -> str:
    """A one-line description of a set."""
    if name in _labelled.names():
        return _labelled.read(name).title
    return registry.describe(KIND, name)


def groups() -> dict[str, list[str]]:
    """Group -> its sets: the twenty of ELEVATER, and the fifteen of the LaCLIP paper."""
    found: dict[str, list[str]] = {"elevater": [], "laclip": []}
    for name in _labelled.names():
        for group in _labelled.read(name).groups:
            found[group].append(name)
    return found


def expand(spec: str, labels: str = "") -> list[str]:
    """The specs of the sets that ``spec`` names: itself, or each set of a group.

    ``labels`` "paper" selects the variants with the class names and templates of the CAPIVARA paper. Raises
    ``CapivaraError`` for an unknown name, and for a set without class names in the paper.
    """
    name, variant = _parts(spec)
    if labels and labels not in _LABELS:
        raise unknown("list of labels", labels, _LABELS)
    if name in groups():
        if variant:
            raise CapivaraError(f"{spec}: a group has no variants", "--labels paper applies to all sets of a group")
        return [each for member in groups()[name] for each in expand(member, labels)]
    if name not in names():
        raise unknown("eval set", name, [*names(), *groups()])
    if labels and variant != labels:
        if variant or name not in _labelled.names() or not _labelled.read(name).paper:
            raise CapivaraError(f"{spec}: the CAPIVARA paper has no class names for it", "run it without --labels")
        variant = labels
    return [f"{name}:{variant}" if variant else name]


def languages(spec: str) -> Sequence[str]:
    """The languages in which a set has captions or class names."""
    name, variant = _parts(spec)
    if name in _labelled.names():
        return _labelled.languages(name, variant)
    plugin = _plugin(name)
    found = plugin_errors.texts(plugin, plugin.languages(variant), what="languages")
    if not found:
        raise plugin_errors.fault(plugin, "no languages")
    return found


def load(spec: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """Load one language of a set. If ``data`` has a subfolder with the name of the set, that is used instead of it.

    Raises ``CapivaraError`` for missing data, an unknown language or an unknown split.
    """
    name, variant = _parts(spec)
    own = _own_folder(name, data)
    if name in _labelled.names():
        return _labelled.load(name, variant, lang=lang, data=own, split=split, env=env)
    plugin = _plugin(name)
    found = plugin.load(variant, lang=lang, data=own, split=split, env=env)
    return _checked(plugin, found) if isinstance(plugin, Guarded) else found


def recognise(path: Path) -> str | None:
    """The spec of a folder with the layout of an eval set; None for capivara's shards and any other path."""
    for name in _FROM_PATHS:
        if path.is_dir() and registry.module(KIND, name).recognises(path):
            return f"{name}:{path}"
    return None


def _parts(spec: str) -> tuple[str, str]:
    name, _, variant = spec.partition(":")
    return name.replace("_", "-"), variant


def _checked(plugin: Guarded, found: Any) -> EvalSet:
    """An eval set of another package. Its samples are checked when they are read."""
    if not isinstance(found, EvalSet):
        raise plugin_errors.fault(plugin, f"returned {plugin_errors.shown(found)}, not an EvalSet")
    for name in ("classes", "templates"):
        plugin_errors.texts(plugin, getattr(found, name), what=name)
    return replace(found, samples=plugin_errors.Checked(plugin, found.samples, Sample))


def _plugin(name: str) -> Any:
    if name not in registry.names(KIND):
        raise unknown("eval set", name, [*names(), *groups()])
    return registry.module(KIND, name)


def _own_folder(name: str, data: str) -> str:
    for each in (name, name.replace("-", "_")):
        if data and (Path(data) / each).is_dir():
            return str(Path(data) / each)
    return data
