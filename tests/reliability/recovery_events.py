"""What happens between two runs of a command: the rows of the matrix."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reliability import trees
from reliability.recovery_commands import Command, other_run, photo, read_list, shard, write_list

Apply = Callable[[Path], None]


@dataclass(frozen=True)
class Event:
    """``apply`` changes a folder in which the command ran, or in which it was killed before it renamed ``killed``.

    ``inputs``: whether the inputs change, so that the result becomes another one. ``read``: whether the next command
    is tried before.
    """

    apply: Apply
    killed: str = ""
    inputs: bool = False
    read: bool = False


@dataclass(frozen=True, eq=False)
class Row:
    """``event`` is what the title says, for a command; None where a command has no such file."""

    table: str
    title: str
    event: Callable[[Command], Event | None]


# Inputs


def _shard_removed(folder: Path) -> None:
    (folder / "shards" / "00001.tar").unlink()


def _shard_added(folder: Path) -> None:
    (folder / "shards" / "00003.tar").write_bytes(shard(8))


def _shard_changed(folder: Path) -> None:
    (folder / "shards" / "00001.tar").write_bytes(shard(2, " de novo"))


def _shard_renamed(folder: Path) -> None:
    (folder / "shards" / "00001.tar").rename(folder / "shards" / "00007.tar")


def _photo_removed(folder: Path) -> None:
    (folder / "photos" / "1.jpg").unlink()
    write_list(folder, [row for row in read_list(folder) if row[0] != "photos/1.jpg"])


def _photo_added(folder: Path) -> None:
    write_list(folder, [*read_list(folder), ("photos/7.jpg", "the last photo")])


def _caption_changed(folder: Path) -> None:
    write_list(folder, [(image, text.replace("a photo", "a view")) for image, text in read_list(folder)])


def _photo_changed(folder: Path) -> None:
    (folder / "photos" / "1.jpg").write_bytes(photo(11))


def _photo_renamed(folder: Path) -> None:
    (folder / "photos" / "1.jpg").rename(folder / "photos" / "9.jpg")
    write_list(folder, [(image.replace("/1.", "/9."), text) for image, text in read_list(folder)])


def _adapter_removed(folder: Path) -> None:
    shutil.rmtree(folder / "runs" / "pt" / "adapter")


def _run_renamed(folder: Path) -> None:
    (folder / "runs" / "pt").rename(folder / "runs" / "pt-old")


_INPUTS: dict[str, dict[str, Apply]] = {
    "removed": {"shards": _shard_removed, "list": _photo_removed, "photos": _photo_removed, "run": _adapter_removed},
    "added": {"shards": _shard_added, "list": _photo_added, "photos": _photo_added},
    "changed": {"shards": _shard_changed, "list": _caption_changed, "photos": _photo_changed, "run": other_run},
    "renamed": {"shards": _shard_renamed, "list": _photo_renamed, "photos": _photo_renamed, "run": _run_renamed},
}


def _input(what: str) -> Callable[[Command], Event | None]:
    def event(command: Command) -> Event | None:
        apply = _INPUTS[what].get(command.input)
        return Event(apply, inputs=True) if apply else None

    return event


def _option(command: Command) -> Event | None:
    return Event(command.option[1], inputs=True) if command.option else None


# Files of the result, and records


def _at(command: Command, place: str, damage: Callable[[Path], None], read: bool = False) -> Event | None:
    """Damage the files of a place. What a finished run does not read, it reads when its result is gone."""
    pattern = command.places.get(place)
    if not pattern:
        return None

    def apply(folder: Path) -> None:
        found = sorted(folder.glob(pattern))
        if not found:
            raise LookupError(f"{command.name}: there is no {pattern}")
        for path in found:
            damage(path)
        if place == "store" or (place in ("manifest", "ledger") and "runs" in command.inputs):
            for name in command.results if command.name != "adapt" else ["runs/pt"]:
                trees.removed(folder / name)

    return Event(apply, command.killed.get(place, ""), read=read)


def _output(damage: Callable[[Path], None]) -> Callable[[Command], Event | None]:
    def event(command: Command) -> Event | None:
        named_on_the_page = damage is trees.removed and command.reader.startswith("report")
        return _at(command, "output", damage, read=not named_on_the_page)

    return event


def _stale(command: Command) -> Event | None:
    """The file of the result is that of another input."""
    if not command.places.get("another"):
        return None

    def apply(folder: Path) -> None:
        shutil.copyfile(folder / command.places["another"], folder / command.places["output"])

    return Event(apply, read=True)


def _record(place: str, damage: Callable[[Path], None]) -> Callable[[Command], Event | None]:
    return lambda command: _at(command, place, damage)


def _entry(change: Callable[[dict[str, Any]], Any]) -> Callable[[Command], Event | None]:
    """The entry of the first shard in a manifest."""

    def event(command: Command) -> Event | None:
        is_list = command.places.get("manifest", "").endswith(".jsonl")
        return _at(command, "manifest", _edited(change, 1)) if is_list else None

    return event


def _edited(change: Callable[[dict[str, Any]], Any], line: int) -> Callable[[Path], None]:
    """Change the JSON of a line of a file, or of the file if it is one document."""

    def damage(path: Path) -> None:
        text = path.read_text("utf-8")
        lines = [text] if text.startswith("{\n") else text.splitlines()
        number = min(line, len(lines) - 1)
        document = json.loads(lines[number])
        change(document)
        lines[number] = json.dumps(document)
        path.write_text("\n".join(lines) + "\n", "utf-8")

    return damage


def _without_first(document: dict[str, Any]) -> None:
    for key in ("fingerprint", "base", "stage", "token", "id"):
        if key in document:
            del document[key]
            return
    document.pop(next(iter(document)))


def _of_another_type(document: dict[str, Any]) -> None:
    for key in document:
        document[key] = [{"a": 1}] if isinstance(document[key], (str, int, float)) else 7


def _claim(content: Callable[[Path], bytes], later: float = -60) -> Callable[[Command], Event | None]:
    """A claim that a process left, a minute ago, on a file that is not there yet. ``later``: seconds from now."""

    def event(command: Command) -> Event | None:
        place = command.places.get("claim")
        if not place:
            return None

        def apply(folder: Path) -> None:
            path = folder / place
            path.write_bytes(content(path))
            os.utime(path, (path.stat().st_atime + later, path.stat().st_mtime + later))

        return Event(apply, command.killed.get("claim", ""))

    return event


def _dead_claim(path: Path) -> bytes:
    """The claim of a process of this machine that is gone; one that a kill left, if there is one."""
    from capivara_cli.storage.claims import Holder

    if path.is_file() and path.stat().st_size:
        return path.read_bytes()
    holder = Holder.of_this_process("capivara")
    return json.dumps({**holder.__dict__, "pid": 4_000_000, "started": "1"}).encode()


def _claim_without_a_field(path: Path) -> bytes:
    document = json.loads(_dead_claim(path))
    del document["token"]
    return json.dumps(document).encode()


def _claim_of_another_type(path: Path) -> bytes:
    return json.dumps({key: [1] for key in json.loads(_dead_claim(path))}).encode()


_DAMAGED = {"cut off": trees.cut, "emptied": trees.emptied, "deleted": trees.removed}
_JSON = {"a field is missing": _edited(_without_first, 0), "fields of another type": _edited(_of_another_type, 0)}

INPUTS, OUTPUTS, RECORDS = "What goes in", "The result", "Records and unfinished work"
ROWS = [
    *(Row(INPUTS, f"an input {what}", _input(what)) for what in _INPUTS),
    Row(INPUTS, "a file or folder of an option changed", _option),
    *(Row(OUTPUTS, f"a file {what}", _output(damage)) for what, damage in _DAMAGED.items()),
    Row(OUTPUTS, "one bit of a file flipped", _output(trees.flipped)),
    Row(OUTPUTS, "the file of another input in its place", _stale),
    *(Row(RECORDS, f"manifest or run.json: {what}", _record("manifest", damage))
      for what, damage in {**_DAMAGED, "not text": trees.garbage, **_JSON}.items()),
    Row(RECORDS, "manifest: an entry without a field", _entry(lambda entry: entry.pop("bytes", None))),
    Row(RECORDS, "manifest: an entry of another type", _entry(_of_another_type)),
    Row(RECORDS, "claim: of a dead process", _claim(_dead_claim)),
    Row(RECORDS, "claim: emptied", _claim(lambda path: b"")),
    Row(RECORDS, "claim: not text", _claim(lambda path: b"\x00\xff")),
    Row(RECORDS, "claim: a field is missing", _claim(_claim_without_a_field)),
    Row(RECORDS, "claim: fields of another type", _claim(_claim_of_another_type)),
    Row(RECORDS, "claim: of a dead process, from the future", _claim(_dead_claim, later=86400)),
    *(Row(RECORDS, f"{place}: {what}", _record(place, damage))
      for place in ("journal", "survey", "decision", "store", "checkpoint")
      for what, damage in {**_DAMAGED, "one bit flipped": trees.flipped, "not text": trees.garbage}.items()),
    *(Row(RECORDS, f"ledger: {what}", _record("ledger", damage))
      for what, damage in {**_DAMAGED, "not text": trees.garbage, **_JSON}.items()),
]  # fmt: skip
