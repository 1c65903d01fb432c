"""Hashes of a plan and of the files it depends on. A run resumes only output with the same hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capivara_cli import registry
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.options import flag_of, option_fields, option_values
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.history import History, step_names
from capivara_cli.shards.inputs import SOURCE_SUFFIXES, local_paths
from capivara_cli.shards.manifest import InputIdentity, Manifest, is_output_folder
from capivara_cli.urls import is_url

_WHOLE = 64 << 20  # bytes: the contents of larger files, the weights of large models, would take seconds to read
_END = 1 << 20  # bytes of the two ends of a larger file
_MOST_NAMED = 50  # files of one option or input whose digests a manifest holds one by one
_LARGE_FOLDER = (
    1 << 30
)  # bytes: in a larger one, such as a copy of an eval set, only files of up to 1 MiB are read whole


@dataclass(frozen=True)
class PlanIdentity:
    """The fingerprint of a plan, and the digest of each file that it depends on, by the words for it in a message."""

    fingerprint: str
    files: Mapping[str, str] = field(default_factory=dict)


def identity_of(chain: Chain) -> PlanIdentity:
    """The SHA-256 of the plan, its options, the version of capivara and of plugins, and the contents of all files that
    options name; then, after a colon, a hash of the versions of the models and translators that they name. And these
    files.

    For a plan that begins a stream, the input files are included, by size and time, with the files that they name. The
    second part is left out while a model is not on this machine: the first run downloads it.
    """
    files: list[Any] = [files_of_options(step.options) for step in chain.steps]
    named = _named_entries(chain.steps, files)
    if chain.steps[0].stage.begins:
        options = chain.steps[0].options
        also: Callable[[str], list[Path]] = getattr(options, "named_files", lambda source: [])
        origin_of: Callable[[str], str] = getattr(options, "origin_of", lambda source: "")
        for source in chain.envs[0].inputs:
            with chain.steps[0].stage.blamed():
                named_files, origin = also(source), origin_of(source)
            entries = [*_input_files(Path(source)), *map(_size_and_time, named_files)]
            files.append([source, *entries])
            named |= _named_inputs(source, entries)
            if origin:
                files.append([origin])
                named |= _digests("the version of the importer of", {source: [origin]})
    digest = hashlib.sha256(json.dumps([chain.described, files], sort_keys=True).encode()).hexdigest()
    versions = [each for step in chain.steps for each in _versions(step)]
    if any(versions) and None not in versions:
        digest = f"{digest}:{hashlib.sha256(json.dumps(versions).encode()).hexdigest()[:16]}"
    return PlanIdentity(digest, named)


def _versions(step: Step) -> list[str | None]:
    with step.stage.blamed():
        return list(getattr(step.options, "identities", list)())


def fingerprint(chain: Chain) -> str:
    """The fingerprint in ``identity_of``."""
    return identity_of(chain).fingerprint


def is_same(before: str, now: str) -> bool:
    """Whether two fingerprints are those of one plan; versions count if both have them."""
    plan, _, versions = before.partition(":")
    new_plan, _, new_versions = now.partition(":")
    return plan == new_plan and (versions == new_versions or not versions or not new_versions)


def _named_entries(steps: Sequence[Step], files: Sequence[list[list[Any]]]) -> dict[str, str]:
    """The digest of each file that an option names, by "rewrite: --synonyms words.txt"; of many files, one digest."""
    found: dict[str, str] = {}
    for step, entries in zip(steps, files, strict=True):
        for option in dict.fromkeys(entry[0] for entry in entries):
            own = [entry[1:] for entry in entries if entry[0] == option]
            found |= _digests(f"{step.name}: {flag_of(option)}", {str(entry[0]): entry for entry in own})
    return found


def _named_inputs(source: str, entries: Sequence[list[Any]]) -> dict[str, str]:
    """The digest of each file of an input, by "input captions.csv"; of many files, of the tables and of all others."""
    by_path = {str(entry[0]): entry for entry in entries}
    if len(by_path) <= _MOST_NAMED:
        return _digests("input", by_path)
    tables = {path: by_path[path] for path in by_path if Path(path).suffix.lower() in SOURCE_SUFFIXES}
    others = {path: by_path[path] for path in by_path if path not in tables}
    found = _digests("input", tables) if len(tables) <= _MOST_NAMED else {}
    return {**found, f"a file of input {source}": _short([*others.values()] if found else [*by_path.values()])}


def _digests(words: str, entries: Mapping[str, list[Any]]) -> dict[str, str]:
    if len(entries) > _MOST_NAMED:
        return {f"a file of {words}": _short([*entries.values()])}
    return {f"{words} {name}": _short(entry) for name, entry in entries.items()}


def _short(entry: list[Any]) -> str:
    return hashlib.sha256(json.dumps(entry).encode()).hexdigest()[:16]


def files_of_options(options: Any) -> list[list[Any]]:
    """The option, the path in its folder, the size and the digest of every file that the options of a step name; of a
    plugin of another package the option and its origin."""
    values, found = option_values(options), []
    for each in option_fields(options):
        reads, value = each.metadata.get("reads"), values[each.name]
        for path in _paths(reads, value) if reads and reads != "images" and isinstance(value, str) else []:
            found += [[each.name, *entry] for entry in _contents(path)]
        if reads in registry.KINDS and (origin := registry.origin(reads, value)):
            found.append([each.name, origin])
    return found


OTHER_VERSION = "a model or translator on this machine has another version"


def named_paths(options: Any) -> list[tuple[str, Path]]:
    """Each option that names files or folders to be read, with those of them that exist."""
    values = option_values(options)
    found = []
    for each in option_fields(options):
        reads, value = each.metadata.get("reads"), values[each.name]
        if reads and isinstance(value, str):
            found += [(each.name, path) for path in _paths(reads, value)]
    return found


def difference(found: Manifest, now: History, files: Mapping[str, str]) -> str:
    """What differs between the plan of a manifest and another one of a different fingerprint, for a message.

    ``files`` are those of the ``PlanIdentity`` of ``now``.

    >>> caption = lambda n: [{"step": "caption", "options": {"n": n}}]
    >>> difference(Manifest(caption(5), "", 1), caption(10), {})
    'caption: --n 5, now it is --n 10'
    >>> packed = Manifest(caption(5), "", 1, files={"input captions.csv": "a"})
    >>> difference(packed, caption(5), {"input captions.csv": "b"})
    'input captions.csv changed'
    """
    before = found.plan
    if (names := step_names(before)) != (new_names := step_names(now)):
        return f"{names}, now it is {new_names}"
    for old, new in zip(before, now, strict=True):
        options, new_options = old.get("options", {}), new.get("options", {})
        for key in [*options, *(key for key in new_options if key not in options)]:
            if options.get(key) != new_options.get(key):
                return f"{old['step']}: {_option(key, options)}, now it is {_option(key, new_options)}"
        if old.get("seed") != new.get("seed"):
            return f"{old['step']}: --seed {old.get('seed')}, now it is --seed {new.get('seed')}"
        if old.get("version") != new.get("version"):
            return f"{old['step']}: capivara {old.get('version')}, now it is {new.get('version')}"
    for words in [*found.files, *(words for words in files if words not in found.files)]:
        if (old_digest := found.files.get(words)) != (digest := files.get(words)):
            return f"{words} " + ("changed" if old_digest and digest else "is new" if digest else "is gone")
    return f"{names}: an input, or a file that an option names, has changed"


def _option(key: str, options: Mapping[str, Any]) -> str:
    """An option as typed; "no --lang" for one without a value."""
    value = options.get(key)
    return f"no {flag_of(key)}" if value in ("", None) else f"{flag_of(key)} {value}"


def _paths(reads: str, value: str) -> list[Path]:
    """The files and folders that an option names, in order; those that do not exist are left out."""
    if reads not in ("files", "images"):
        name, _, rest = value.partition(":")
        paths = [os.path.expanduser(text) for text in (value, rest, name) if text]  # noqa: PTH111
        return [Path(path) for path in paths if os.path.exists(path)][:1]  # noqa: PTH110  it may be too long for a path
    parts = dict.fromkeys([value, *value.split(",")])  # a name may contain a comma
    patterns = [str(Path(part.strip()).expanduser()) for part in parts if part.strip()]
    return list(dict.fromkeys(path for pattern in patterns for path in sorted(local_paths(pattern))))


def _contents(path: Path) -> list[list[Any]]:
    """The path in its folder, the size and the digest of each file of a path; of a run folder those of the adapter."""
    if path.is_file():
        return [[path.name, *_digest(path, _WHOLE)]]
    base = path / "adapter" if (path / "adapter").is_dir() else path
    files = [each for each in sorted(base.rglob("*")) if each.is_file()]
    visible = [each for each in files if not any(part.startswith(".") for part in each.relative_to(base).parts)]
    limit = _WHOLE if sum(each.stat().st_size for each in visible) <= _LARGE_FOLDER else _END
    return [[str(each.relative_to(base)), *_digest(each, limit)] for each in visible]


def _digest(path: Path, limit: int) -> list[Any]:
    """The size of a file and the SHA-256 of its content; of one with more than ``limit`` bytes, at least ``_END``, the
    SHA-256 of its ends, and its time."""
    info = path.stat()
    try:
        with open(path, "rb") as file:
            if info.st_size <= limit:
                return [info.st_size, hashlib.sha256(file.read()).hexdigest()]
            start = file.read(_END)
            file.seek(-_END, os.SEEK_END)
            return [info.st_size, hashlib.sha256(start + file.read()).hexdigest(), info.st_mtime_ns]
    except OSError:  # the stage that reads it says so, if it needs this file
        return [info.st_size, "cannot be read"]


def _input_files(path: Path) -> list[list[Any]]:
    """The name, size and time of each file of an input, but hidden ones and those in folders that capivara filled."""
    files = sorted(_files_below(path)) if path.is_dir() else [path] if path.exists() else []
    return [_size_and_time(each) for each in files]


def _size_and_time(path: Path) -> list[Any]:
    try:
        info = _info_of(path)
    except OSError:  # the table names a file that does not exist
        return [str(path)]
    return [str(path), info.st_size, info.st_mtime_ns]


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and not is_output_folder(Path(parent, name))]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*names, *links) if name[0] != ".")


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
