"""Refuse to write over an input, or where a command would read the file as part of its input; before any work.

``--out`` of stages is checked where its default is known, see ``pipeline.engine.check_not_input``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.costs.ledger import FOLDER_LEDGER, RUN_LEDGER
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import Command, Invocation
from capivara_cli.pipeline.fingerprint import named_paths
from capivara_cli.pipeline.options import flag_of, option_fields, option_values
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.reports import card
from capivara_cli.shards.inputs import local_paths
from capivara_cli.shards.manifest import MANIFEST
from capivara_cli.shards.names import is_shard_name
from capivara_cli.shards.sample import has_image_suffix
from capivara_cli.storage.files import is_device, special_kind
from capivara_cli.urls import is_url

_READ = frozenset({MANIFEST, FOLDER_LEDGER, RUN_LEDGER, card.FILE, "run.json", "metrics.jsonl", "eval.json"})
"""The files that commands read, or keep up to date, in a folder of shards and in a run folder."""
_BEGINNINGS = {
    "summary": (b'{\n  "command"',),
    "html": (b"<!doctype html>",),
    "table": (b"task,set,split,", b"## ", b"% \\usepackage"),
    "ledger": (b'{"id"',),
}
"""How the files begin that each option writes: inside an input, it replaces no others."""
_REJECTS = re.compile(r"\d+-\w+")
"""The name of a folder that ``--rejects`` fills: ``1-filter``."""


@dataclass(frozen=True)
class _Output:
    """A path that an option names, as typed and without links."""

    flag: str
    text: str
    path: Path
    beginnings: tuple[bytes, ...] = ()

    def refused(self, why: str, hint: str = "") -> UsageError:
        return UsageError(f"{self.flag} {self.text}: {why}", hint or f"choose another path with {self.flag}")


@dataclass
class _Inputs:
    """The inputs of a command by their paths without links, as typed. ``packed``: ``pack`` reads all files of folders.

    ``own``: the folders that are inputs themselves, not named by an option.
    """

    files: dict[Path, str] = field(default_factory=dict)
    folders: dict[Path, str] = field(default_factory=dict)
    own: set[Path] = field(default_factory=set)
    packed: bool = False

    def add(self, path: Path, text: str, *, own: bool) -> None:
        real = _real(path)
        if not path.is_dir():
            self.files.setdefault(real, text)
            return
        self.folders.setdefault(real, text)
        if own:
            self.own.add(real)


def check_outputs(invocation: Invocation) -> None:
    """Raise ``UsageError`` if an option of a command names an input, or a file among the inputs, to be written.

    Also if an option names a pipe where a file is read: nothing would be known of its content in the next run.
    """
    _check_no_pipes(invocation)
    outputs = list(_outputs(invocation))
    if not outputs:
        return
    inputs = _inputs(invocation)
    seen: dict[Path, str] = {}
    for each in outputs:
        if (other := seen.get(each.path)) and not is_device(each.path):
            raise each.refused(f"{other} writes there too")
        seen[each.path] = each.flag
        _check_not_input(each, inputs)
        if each.flag == "--out":
            inputs.folders.setdefault(each.path, each.text)  # it is read when the command is resumed
        elif each.flag == "--rejects":
            _check_rejects(each, inputs)
        else:
            _check_file(each, inputs)
        if each.path.is_file() and (has_image_suffix(each.path) or is_shard_name(each.path.name)):
            raise each.refused("is an image or a shard")


def _outputs(invocation: Invocation) -> Iterator[_Output]:
    """What the command line names to be written. ``--out`` of most commands is a folder with checks of its own."""
    settings = invocation.settings
    if settings.out and not is_url(settings.out):
        yield _Output("--out", settings.out, _real(Path(settings.out)))
    if settings.rejects and not is_url(settings.rejects):
        yield _Output("--rejects", settings.rejects, _real(Path(settings.rejects)))
    for options in (invocation.options, settings):
        for name, text in _output_texts(options):
            if settings.energy or name != "ledger":
                yield _Output(flag_of(name), text, _real(Path(text)), _BEGINNINGS[name])


def _output_texts(options: Any) -> Iterator[tuple[str, str]]:
    """Name and text of each option that names a file to write; of a list, each item."""
    values = option_values(options)
    for each in option_fields(options):
        text = values[each.name]
        if each.metadata.get("output") and text:
            parts = [part.strip() for part in text.split(",")] if each.metadata.get("kind") else [text]
            yield from ((each.name, part) for part in dict.fromkeys(parts) if part)


def _words_and_steps(invocation: Invocation) -> tuple[list[str], list[Step]]:
    """The inputs of a command line, and the steps of its plan if it has one."""
    command, words = invocation.command, list(invocation.inputs)
    if "--" in words:
        words = words[: words.index("--")]  # the command that ``footprint`` measures has options of its own
    if words and isinstance(command, Command) and command.argument.startswith("PLAN"):
        return words[1:], parse_plan(words[0])
    return words, []


def _check_no_pipes(invocation: Invocation) -> None:
    """Raise ``UsageError`` if an option that is read names a pipe, a socket or a device."""
    _, steps = _words_and_steps(invocation)
    for options in [invocation.options, *(step.options for step in steps)]:
        for name, path in named_paths(options):
            if kind := special_kind(str(path)):
                raise UsageError(f"{flag_of(name)} {path}: is {kind}, not a file", "write it to a file first")


def _inputs(invocation: Invocation) -> _Inputs:
    command = invocation.command
    found = _Inputs(packed=isinstance(command, Stage) and command.begins)
    words, steps = _words_and_steps(invocation)
    if steps:
        found.packed = steps[0].stage.begins
    for text in words:
        for path in local_paths(text):
            found.add(path, text, own=True)
    for each in [invocation.options, *(step.options for step in steps)]:
        for _, path in named_paths(each):
            found.add(path, str(path), own=False)
    return found


def _check_not_input(output: _Output, inputs: _Inputs) -> None:
    """Raise ``UsageError`` for an output that is an input file, under whichever name."""
    same = inputs.files.get(output.path)
    if same is None and output.path.is_file():  # hard links, and file systems that take A for a
        same = next((text for path, text in inputs.files.items() if path.samefile(output.path)), None)
    if same is None and output.path.is_file() and _is_standard_input(output.path):
        same = "standard input"
    if same is not None:
        raise output.refused("is also an input" if same == output.text else f"is also the input {same}")


def _is_standard_input(path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(0), path.stat())
    except OSError:  # standard input is closed
        return False


def _check_rejects(output: _Output, inputs: _Inputs) -> None:
    """Raise ``UsageError`` for a folder of rejects that is an input, or in which an input would be written over."""
    if output.path in inputs.own:
        raise output.refused("is also an input")
    if inputs.packed and (text := _around(output.path, inputs.own, inputs)):
        raise output.refused(f"is inside {text}, which is packed", "choose a folder outside of it")
    for path in [*inputs.folders, *(path.parent for path in inputs.files)]:
        if path.parent == output.path and _REJECTS.fullmatch(path.name):
            raise output.refused(f"would be written to {Path(output.text) / path.name}, which is an input or --out")


def _check_file(output: _Output, inputs: _Inputs) -> None:
    """Raise ``UsageError`` for a file that would be read as a part of an input."""
    path = output.path
    if path in inputs.folders:
        raise output.refused("is also an input")
    if inputs.packed:
        if text := _around(path, inputs.own, inputs):
            raise output.refused(f"is inside {text}, which is packed", "choose a file outside of it")
        if any(each.parent == path.parent and path.stem in (each.stem, each.name) for each in inputs.files):
            raise output.refused("would be read as the captions of an image", "choose another name")
    text = _around(path, inputs.folders, inputs)
    if text is None and any(is_shard_name(each.name) and each.parent == path.parent for each in inputs.files):
        text = str(Path(output.text).parent)
    if text is None:
        return
    if path.name in _READ or has_image_suffix(path) or is_shard_name(path.name):
        raise output.refused(f"would be read as a part of {text}", "choose another name, or a file outside of it")
    if path.is_file() and not _start(path).startswith(output.beginnings):
        raise output.refused(f"is a file of {text} that {output.flag} did not write")


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)


def _around(path: Path, folders: Collection[Path], inputs: _Inputs) -> str | None:
    """The folder, as typed, among ``folders`` that a path is inside of."""
    return next((inputs.folders[parent] for parent in path.parents if parent in folders), None)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
