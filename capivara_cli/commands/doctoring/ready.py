"""What works without a network: models, captioners, translators by pair, eval sets. Nothing is loaded or downloaded."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capivara_cli import console, registry
from capivara_cli.cli.dry_run.offline import hub_offline
from capivara_cli.commands.list import answer
from capivara_cli.errors import CapivaraError
from capivara_cli.languages.translators import ready_pairs
from capivara_cli.models import hub
from capivara_cli.models.clip_files import CONFIG, DEFAULT_MODEL, DEFAULT_REPO, HUB, MCLIP, architecture_files
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.storage import cache

ANY = "any pair of its languages"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_OPUS = "Helsinki-NLP/opus-mt-"
_SECONDS = 5.0


def models() -> list[str]:
    """The values of ``--model`` whose weights are here."""
    found = ["toy"]
    for repo, folder in _cached():
        if repo == DEFAULT_REPO:
            found += [DEFAULT_MODEL] if all(hub.is_cached(each) for each in _towers(DEFAULT_MODEL)) else []
        elif repo.startswith("M-CLIP/"):
            found.append(MCLIP + repo.partition("/")[2])
        elif (folder / CONFIG).is_file():
            found.append(HUB + repo)
    return found


def _towers(architecture: str) -> set[str]:
    """The repositories of the text tower and of the tokenizer of an open_clip architecture."""
    path = next((path for path in architecture_files() if path.stem == architecture), None)
    text = json.loads(path.read_text("utf-8")).get("text_cfg", {}) if path else {}
    return {text[key] for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)}


def captioners() -> list[str]:
    """The values of ``--captioner`` whose weights are here."""
    from capivara_cli.stages.captioners.blip2 import DEFAULT

    found = ["toy"]
    for repo, folder in _cached():
        config = _config(folder)
        kinds = " ".join(map(str, config.get("architectures") or ()))
        if repo == DEFAULT:
            found.append("blip2")
        elif "Blip2" in kinds:
            found.append(f"blip2:{repo}")
        elif "vision_config" in config and "ConditionalGeneration" in kinds:
            found.append(f"hf:{repo}")
    return found


def translators() -> dict[str, list[str]]:
    """Each translator that works without a network -> its pairs, such as "en-pt"."""
    cached = {repo for repo, _ in _cached()}
    none: list[str] = []
    found = {"toy": _toy_pairs(), "identity": ["any pair"]}
    for name in registry.names("translators"):
        pairs = answer("translators", name, lambda name=name: _pairs(name, cached), none)  # type: ignore[misc]
        if pairs:
            found[name] = pairs
    return found


def _pairs(name: str, cached: set[str]) -> list[str]:
    if name == "opus":
        return sorted(repo.removeprefix(_OPUS) for repo in cached if repo.startswith(_OPUS))
    pairs = [f"{source}-{target}" for source, target in ready_pairs(name)]
    default = getattr(getattr(registry.module("translators", name), "FAMILY", None), "default", "")
    return [ANY] if default in cached else sorted(pairs)


def _toy_pairs() -> list[str]:
    from capivara_cli.stages.translators.toy import MODELS

    return sorted(path.stem.removeprefix("translate-").replace("_", "-") for path in MODELS.glob("translate-*"))


def evalsets() -> tuple[list[str], list[str]]:
    """The eval sets whose test split is here, and those that were not looked at for lack of time."""
    from capivara_cli.evaluation import catalogue

    env, found, late = Env(Settings(), "doctor"), [], []
    deadline = time.monotonic() + _SECONDS
    names = [
        name for name in catalogue.names() if name == "toy" or _has_downloads() or registry.origin("evalsets", name)
    ]
    with hub_offline(), console.quiet():
        for name in names:
            if time.monotonic() > deadline:
                late.append(name)
                continue
            with contextlib.suppress(CapivaraError, OSError):  # not here, or only with --data
                catalogue.load(name, lang=catalogue.languages(name)[0], data="", split="test", env=env)
                found.append(name)
    return found, late


@functools.cache
def _has_downloads() -> bool:
    """Whether any data of an eval set were downloaded: if not, there is no need to try each set."""
    from huggingface_hub import constants

    places = ((cache.folder() / "evalsets", "*"), (Path(constants.HF_HUB_CACHE), "datasets--*"))
    return any(any(place.glob(pattern)) for place, pattern in places)


def _cached() -> Iterator[tuple[str, Path]]:
    """The repositories of models in the hub's cache that have weights, each with the folder of its files."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE)
    try:
        folders = sorted(place.glob("models--*"))
    except OSError:
        return
    for folder in folders:
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        with contextlib.suppress(OSError):
            snapshot = folder / "snapshots" / (hub.revision(repo) or "-")
            if _has_weights(snapshot):
                yield repo, snapshot


def _has_weights(snapshot: Path) -> bool:
    """Whether a folder has weights, and all parts of weights in several files."""
    names = {path.name for path in snapshot.glob("*") if path.is_file()}
    needed: set[str] = set()
    for index in snapshot.glob("*.index.json"):
        needed |= set(_read(index).get("weight_map", {}).values())
    return needed <= names and any(name.endswith(_WEIGHTS) for name in names)


def _config(folder: Path) -> dict[str, Any]:
    return _read(folder / "config.json")


def _read(path: Path) -> dict[str, Any]:
    """A JSON object in a file; {} if it cannot be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
