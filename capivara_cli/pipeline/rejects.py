"""The rejects of a run: a file for each shard and step, and beside it a record, by which damage to it is found."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capivara_cli.pipeline.chain import Chain
from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.manifest import with_check, without_check
from capivara_cli.shards.sample import Sample, encode_json
from capivara_cli.storage.digests import digest_of_file, digest_text, new_hash
from capivara_cli.storage.files import replacing
from capivara_cli.storage.typed_json import from_json
from capivara_cli.urls import is_url


@dataclass(frozen=True)
class _Record:
    """The size in bytes and the digest of a file of rejects, and the path of its input from there; "" for a stream."""

    size: int
    digest: str
    input: str


def reject_folders(chain: Chain) -> list[Path]:
    """The folders in which ``storing_rejects`` writes a file for each shard, one for each step; none without
    ``--rejects``."""
    folder = chain.settings.rejects
    numbered = zip(chain.steps, chain.envs, strict=True) if folder else ()
    return [Path(folder) / f"{env.number + 1}-{step.name}" for step, env in numbered]


@contextlib.contextmanager
def storing_rejects(chain: Chain, name: str, source: str = "-") -> Iterator[None]:
    """With ``--rejects DIR``, store dropped samples in DIR/<number>-<step>/<name>, with the reason as ``dropped.json``.

    ``name`` is the name of the shard, ``source`` the path or URL of the input. The file ``.<name>.record`` beside the
    rejects appears when they are complete.
    """
    folders = reject_folders(chain)
    if not folders:
        yield
        return
    records: list[_Record] = []
    with contextlib.ExitStack() as stack:
        writers, digests, outs = [], [new_hash() for _ in folders], []
        history = chain.before + chain.described
        for folder, step, env, digest in zip(folders, chain.steps, chain.envs, digests, strict=True):
            outs.append(stack.enter_context(replacing(folder / name)))
            writers.append(ShardWriter(outs[-1], history[: env.number + 1], digest))
            env.reject = _rejecting(writers[-1], step.name)
        yield
        for folder, writer, env, out, digest in zip(folders, writers, chain.envs, outs, digests, strict=True):
            writer.finish()
            env.reject = None
            records.append(_Record(out.tell(), digest_text(digest), _path_from(folder, source)))
    for folder, record in zip(folders, records, strict=True):
        with replacing(_record_path(folder / name)) as file:
            file.write(encode_json(with_check(vars(record))) + b"\n")


def _rejecting(writer: ShardWriter, step: str) -> Callable[[Sample, str], None]:
    def reject(sample: Sample, reason: str) -> None:
        writer.write(sample.with_members(**{"dropped.json": encode_json({"step": step, "reason": reason})}))

    return reject


def is_whole(path: Path) -> bool:
    """Whether a file of rejects is as it was written. One that is younger than its record is read for that."""
    record, beside = _read(_record_path(path)), _record_path(path)
    try:
        info, recorded_at = path.stat(), beside.stat().st_mtime_ns
        if record is None or info.st_size != record.size:
            return False
        if max(info.st_mtime_ns, info.st_ctime_ns) <= recorded_at:
            return True
        if digest_of_file(path) != record.digest:
            return False
    except OSError:
        return False
    with contextlib.suppress(OSError):  # a read-only disk
        os.utime(beside)
    return True


def remove(folder: Path, names: Sequence[str]) -> None:
    """Remove the rejects of the shards ``names`` from the folders of all steps."""
    for step in folder.glob("*-*"):
        for name in names:
            _remove(step / name)


def remove_gone(folder: Path, input_folders: Iterable[Path]) -> None:
    """Remove the rejects of all inputs that were in ``input_folders`` and are gone."""
    folders = {each.resolve() for each in input_folders}
    for beside in list(folder.glob("*-*/.*.record")):
        record = _read(beside)
        if record is not None and record.input:
            source = Path(os.path.normpath(beside.parent.resolve() / record.input))
            if source.parent in folders and not os.path.lexists(source):
                _remove(beside.with_name(beside.name[1:].removesuffix(".record")))


def _remove(path: Path) -> None:
    for each in (path, _record_path(path)):
        each.unlink(missing_ok=True)


def _record_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.record")


def _read(path: Path) -> _Record | None:
    """The record in a file; None if there is none, or an altered one."""
    try:
        return from_json(_Record, without_check(json.loads(path.read_bytes())), "the record of rejects")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _path_from(folder: Path, source: str) -> str:
    if source == "-" or is_url(source):
        return ""
    path = Path(source)
    return os.path.relpath(path.parent.resolve() / path.name, folder.resolve())
