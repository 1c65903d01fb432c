"""A cell of the matrix: a command runs, something happens, it runs again; what it says, and that its result is right."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from reliability import forked, trees
from reliability.forked import Ended
from reliability.recovery_commands import COMMANDS, Command
from reliability.recovery_events import ROWS, Event, Row

AGAIN, SAME, REFUSED, READER, NONE = "made again", "kept", "refused", "next refuses", "–"
CELLS = [(row, command) for row in ROWS for command in COMMANDS if row.event(command) is not None]


WRONG = "not yet right"
"""What the page says of a cell that fails."""


class Fault(AssertionError):
    """A result that is used though it is wrong, or cannot be made again."""


@dataclass
class Cell:
    """What is done, step by step, each with the lines that are said; "" for nothing."""

    steps: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, said: str = "") -> None:
        self.steps.append((what, said))


@dataclass
class Lab:
    """Plays cells in ``base/case``, always the same path. Finished and unfinished runs are kept, to be copied."""

    base: Path
    results: dict[str, dict[str, str]] = field(default_factory=dict)
    said: dict[str, set[str]] = field(default_factory=dict)

    @property
    def case(self) -> Path:
        return self.base / "case"

    def restore(self, command: Command, killed: str) -> None:
        """The folder after a run of the command, or after one that was killed."""
        kept = self._kept(command, killed)
        if not kept.is_dir():
            shutil.rmtree(self.case, ignore_errors=True)
            self.case.mkdir(parents=True)
            command.make(self.case)
            trees.dated(self.case)
            ended = run(command, self.case, killed)
            if ended.code != (-9 if killed else 0):
                raise RuntimeError(f"{command.line}: exit {ended.code}\n{ended.said}")
            if not killed:
                self.results[command.name] = content(self.case, command.results)
                self.said[command.name] = set(lines(ended.said))
                if command.reader:
                    self.results[f"{command.name} next"] = self._read(command)[1]
            trees.copied(self.case, kept)
        trees.copied(kept, self.case)

    def _kept(self, command: Command, killed: str) -> Path:
        return self.base / "states" / re.sub(r"\W", "-", f"{command.name} {killed}")

    def _read(self, command: Command) -> tuple[Ended, dict[str, str]]:
        """What the next command says of the result, and makes of it."""
        ended = forked.run(command.reader, self.case)
        found = content(self.case, ["next", "next.html"])
        for name in ("next", "next.html"):
            trees.removed(self.case / name)
        return ended, found

    def play(self, row: Row, command: Command) -> Cell:
        """Raises ``Fault`` if a wrong result is used in silence, or if the advice of a message does not help."""
        event = row.event(command)
        assert event is not None
        self.restore(command, "")  # knows the clean result
        self.restore(command, event.killed)
        event.apply(self.case)
        cell = Cell()
        expected = self._expected(command, event, cell)
        if event.read and command.reader:
            self._try_reader(command, cell)
        before = stamps(self.case, command.results)
        ended = run(command, self.case)
        if isinstance(expected, Ended):
            if ended.code != expected.code:
                raise Fault(f"exit {ended.code}, a clean run {expected.code}:\n{ended.said}\n{expected.said}")
            cell.add(REFUSED, message(ended.said))
            return cell
        self._judge(command, ended, expected, before, cell)
        return cell

    def _expected(self, command: Command, event: Event, cell: Cell) -> dict[str, str] | Ended:
        """The result of a clean run on the present inputs, or how it refuses them."""
        if not event.inputs:
            return self.results[command.name]
        aside = self.base / "aside"
        self.case.rename(aside)
        self.case.mkdir()
        for name in command.inputs:
            if (aside / name).is_dir():
                shutil.copytree(aside / name, self.case / name, symlinks=True)
            elif (aside / name).is_file():
                shutil.copy2(aside / name, self.case / name)
        for name in command.results:
            if not any(name == each or name.startswith(f"{each}/") for each in command.inputs):
                continue
            if name not in command.inputs:
                trees.removed(self.case / name)
        ended = run(command, self.case)
        found = content(self.case, command.results)
        shutil.rmtree(self.case)
        aside.rename(self.case)
        return found if ended.code == 0 else ended

    def _try_reader(self, command: Command, cell: Cell) -> None:
        ended, made = self._read(command)
        if ended.code == 0 and made != self.results[f"{command.name} next"]:
            raise Fault(f"the next command uses it: {trees.difference(made, self.results[f'{command.name} next'])}")
        if ended.code not in (0, 1):
            raise Fault(f"the next command ends with {ended.code}:\n{ended.said}")
        if ended.code:
            cell.add(READER, message(ended.said))

    def _judge(
        self, command: Command, ended: Ended, expected: dict[str, str], before: dict[str, int], cell: Cell
    ) -> None:
        steps = 4 if command.name == "adapt" else 1  # each of its commands has its own folder
        while ended.code == 1 and sum(what == REFUSED for what, _ in cell.steps) < steps:
            cell.add(REFUSED, message(ended.said))
            line = self._advised(command, ended.said)
            ended, before = run(command, self.case, line=line), {}
        if ended.code:
            raise Fault(f"exit {ended.code}, after {cell.steps or 'nothing'}:\n{ended.said}")
        if wrong := trees.difference(content(self.case, command.results), expected):
            raise Fault(f"exit 0, and the result is wrong: {wrong}\n{ended.said}")
        if not before or before != stamps(self.case, command.results):
            cell.add(AGAIN, self._news(command, ended))
        else:
            cell.add(SAME, self._news(command, ended))

    def _advised(self, command: Command, said: str) -> str:
        """Follow the advice of a message: delete what it names, or make it again; returns the line to run then."""
        if "--overwrite" in said:
            return f"{command.line} --overwrite"
        named = re.search(r"^capivara: (?:--\w+ )?((?:file://)?[^\s:]+): .*\n +(.*)", said, re.MULTILINE)
        target = self.case / (named[1].removeprefix("file://") if named else "nothing is named")
        advice = named[2] if named else ""
        if target.is_relative_to(self.case / "runs") and "runs" in command.inputs:
            if not re.search(r"delete it|move it away", advice):
                trees.copied(self._kept(command, "") / "runs", self.case / "runs")  # train again
                return command.line
        elif re.search(r"delete (the|that) folder", advice) and target.is_file():
            target = target.parent
        if not re.search(r"delete|move it away|choose another folder with --out", advice) or not target.exists():
            raise Fault(f"the message does not say what to do:\n{said}")
        trees.removed(target)  # another folder is as good as this one without its files
        return command.line

    def _news(self, command: Command, ended: Ended) -> str:
        """The warnings, and the lines about files, that a run without an event does not say."""
        found = [line for line in lines(ended.said) if re.match(r"[\w./:-]+: (?!//)", line)]
        return "\n".join(line for line in found if line not in self.said[command.name])


def run(command: Command, folder: Path, killed: str = "", line: str = "") -> Ended:
    """Run a command line; its standard output becomes the file ``shown``, and the table of a run is left out."""
    if command.slow:
        forked.preload()
    if command.before:
        made = forked.run(command.before, folder)
        (folder / "stream.tar").write_bytes(made.shown)
    ended = forked.run(line or command.line, folder, kill_before=killed, stdin="stream.tar" if command.before else "")
    if "shown" in command.results and ended.code == 0:
        (folder / "shown").write_bytes(ended.shown)
    return ended


# What is compared and shown


def content(folder: Path, names: tuple[str, ...] | list[str]) -> dict[str, str]:
    found = trees.content(folder, names, scrubbed)
    return {name: digest for name, digest in found.items() if "/checkpoints/" not in name}  # unfinished work


_TIMES = re.compile(rb'"(pairs_per_second|seconds|peak_bytes|left|metrics_sha256|checksum)": [^,}\]]+')
_MADE = re.compile(rb'"mtime_ns": \d+|"check": "\w+"')


def scrubbed(path: Path) -> bytes:
    """The bytes of a file without measured times and costs."""
    if path.name in ("README.md", "MODEL_CARD.md"):
        return b""
    data = path.read_bytes()
    if "pt-data" in path.parts:  # the inputs of its commands are made by its commands
        data = _MADE.sub(b"", data)
    return _TIMES.sub(b"", data) if path.suffix in (".json", ".jsonl") else data


def stamps(folder: Path, names: tuple[str, ...]) -> dict[str, int]:
    """When each file of a result was written."""
    found = [path for name in names for path in ((folder / name), *sorted((folder / name).rglob("*")))]
    return {str(path): path.stat().st_mtime_ns for path in found if path.is_file() and path.name not in trees.COSTS}


def lines(said: str) -> list[str]:
    """What a run says, without its summary, progress, and values that differ between runs."""
    found = []
    for line in said.splitlines():
        line = re.sub(r"\d[\d.,]*(?:e-\d+)? ?(ms|kB|MB|GB|Wh|g CO2e|s)\b", r"… \1", line)
        line = re.sub(r"\b[0-9a-f]{10,}\b", "…", re.sub(r"\b[\w.-]+:\d{4,}\b", "…", line))
        line = re.sub(r"partial-\S+", "partial-…", re.sub(r"column \d+ \(char \d+\)", "column … (char …)", line))
        if line.strip() and not re.match(r"capivara [\w |]+: (read|writing)|\$ capivara", line):
            found.append(line)
    return found


def first(said: str) -> str:
    return next((line for line in lines(said) if line.startswith("capivara: ")), "")


def message(said: str) -> str:
    """The message of an error."""
    return first(said)
