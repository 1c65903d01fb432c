"""Hashes of a plan and of the files it depends on. A run resumes only output with the same hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.options import flag_of
from capivara_cli.shards.history import History, step_names
from capivara_cli.shards.manifest import InputIdentity
from capivara_cli.urls import is_url

_MODEL_SUFFIXES = {".safetensors", ".bin", ".pt", ".argosmodel", ".txt", ".jsonl", ".model", ".tar"}


def fingerprint(chain: Chain) -> str:
    """SHA-256 of the plan, its options, the version of capivara, and the size and time of all files that options name.

    For a plan that begins a stream, the input files are included.
    """
    files: list[Any] = [_file_versions(value) for step in chain.steps for value in asdict(step.options).values()]
    if chain.steps[0].stage.begins:
        files += [[source, *_input_files(Path(source))] for source in chain.envs[0].inputs]
    return hashlib.sha256(json.dumps([chain.described, files], sort_keys=True).encode()).hexdigest()


def difference(before: History, now: History) -> str:
    """What differs between two plans of different fingerprints, for a message.

    >>> difference([{"step": "caption", "options": {"n": 5}}], [{"step": "caption", "options": {"n": 10}}])
    'caption: --n 5, now it is --n 10'
    """
    if (names := step_names(before)) != (new_names := step_names(now)):
        return f"{names}, now it is {new_names}"
    for old, new in zip(before, now, strict=True):
        options, new_options = old.get("options", {}), new.get("options", {})
        for key in [*options, *(key for key in new_options if key not in options)]:
            if options.get(key) != new_options.get(key):
                flag = flag_of(key)
                return f"{old['step']}: {flag} {options.get(key)}, now it is {flag} {new_options.get(key)}"
        if old.get("seed") != new.get("seed"):
            return f"{old['step']}: --seed {old.get('seed')}, now it is --seed {new.get('seed')}"
        if old.get("version") != new.get("version"):
            return f"{old['step']}: capivara {old.get('version')}, now it is {new.get('version')}"
    return f"{names}: an input, or a file that an option names, has changed"


def _file_versions(value: Any) -> list[list[Any]]:
    """Name, size and time of the files that an option names, alone or in a comma-separated list.

    For a folder these are the model files in it.
    """
    files = [file for part in value.split(",") for file in _files(part.strip())] if isinstance(value, str) else []
    return [[each.name, (info := each.stat()).st_size, info.st_mtime_ns] for each in files]


def _files(name: str) -> list[Path]:
    """The files that ``PATH`` or ``plugin:PATH`` names. A model that is trained again must change the fingerprint."""
    path = Path(name.partition(":")[2] or name).expanduser()
    if name and path.is_file():
        return [path]
    if ("/" not in name and "." not in name) or not path.is_dir():
        return []
    return [each for each in sorted(path.rglob("*"))[:1000] if each.is_file() and each.suffix in _MODEL_SUFFIXES]


def _input_files(path: Path) -> list[list[Any]]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    return [[str(each), (info := _info_of(each)).st_size, info.st_mtime_ns] for each in files]


def _info_of(path: Path) -> os.stat_result:
    """The size and time of a file; those of the link itself where it leads nowhere: importers count such links."""
    try:
        return path.stat()
    except OSError:
        return path.lstat()


def input_identities(shards: Sequence[str]) -> list[InputIdentity]:
    """The ``input_identity`` of each shard; servers are asked about several shards at the same time."""
    if not any(map(is_url, shards)):
        return [input_identity(shard) for shard in shards]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(input_identity, shards))


def input_identity(shard: str) -> InputIdentity:
    """The name and size of a shard, with its modification time or, for a URL, its tag.

    Raises ``OSError`` or ``CapivaraError`` if the shard does not exist.
    """
    if is_url(shard):
        from capivara_cli.shards.remote_inputs import identity_of

        return identity_of(shard)
    info = Path(shard).stat()
    return {"name": Path(shard).name, "size": info.st_size, "mtime_ns": info.st_mtime_ns}
