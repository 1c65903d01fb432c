"""No command offers an option that it ignores: each is read while small jobs of the command run.

A read is ``options.name`` or ``parsed(options, "name")`` in the code of the program. What handles all options alike
(parsing, checking, histories, copies) reads nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.made import jpeg, shard_bytes, toy_like

from capivara_cli.cli.application import call
from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.perform import Performer, perform
from capivara_cli.pipeline import options as machinery
from capivara_cli.pipeline.command import Command, Invocation, command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages
from capivara_cli.pipeline.options import COSTS, Settings, opt, option_values
from capivara_cli.pipeline.stage import Stage
from capivara_cli.registry import command_names, load_command
from capivara_cli.shards.sample import Caption

ALIKE = (
    "dataclasses.py", "copy.py", "<string>", "pipeline/stage.py", "pipeline/fingerprint.py", "cli/parameters.py",
    "cli/application.py", "cli/command_help.py",
)  # fmt: skip
"""Files that treat all options alike: what they read is used nowhere yet."""

TRAIN = "train shards --lang pt --model toy --steps 2 --batch-size 4 --no-energy"
JOBS = {
    "pack": [
        "pack photos --out packed --shard-size 2",
        "pack photos/captions.csv --out table",
        "pack toy:2 --out scenes",
    ],
    "caption": ["caption shards --captioner toy --n 1 --out captioned"],
    "rewrite": [
        "rewrite shards --rewriter toy --out rewritten",
        "rewrite shards --rewriter eda --out edited",
        "rewrite shards --rewriter back-translation:toy --via pt --out back",
        "rewrite shards --rewriter back-translation --translator toy --via pt --out there-and-back",
    ],
    "translate": ["translate shards --translator toy --lang pt --out translated"],
    "filter": [
        "filter shards --model toy --rules all --top-fraction 0.9 --out filtered",
        "filter shards --model toy --level image --select threshold-diversity --out selected",
    ],
    "dedupe": ["dedupe shards --images embedding --model toy --against others --against-by id,bytes --out deduped"],
    "split": ["split shards --out splitted"],
    "run": ["run 'caption --captioner toy --n 1' shards --out ran"],
    "train": [
        f"{TRAIN.removesuffix('--no-energy')} --runs apart --name taught --val 0.4 --objective clip+distill",
        f"{TRAIN} --runs apart --name aligned --align mt-source",
        *(
            f"{TRAIN} --runs apart --name {method} --peft {method}"
            for method in ("adapter", "compacter", "soft-prompt")
        ),
    ],
    "eval": ["eval shards classes --model toy --lang en --table table.csv --mode linear-probe"],
    "export": [f"export runs/pt --format peft --out adapter{more}" for more in ("", " --overwrite")],
    "footprint": ["footprint parts"],
    "list": ["list engines"],
    "report": ["report runs/pt"],
    "search": ["search 'a red square' shards --model toy", "search --image photos/0.jpg shards --model toy"],
    "show": ["show shards"],
    "slurm": ["slurm 'split' shards --out done"],
    "status": ["status parts"],
    "doctor": ["doctor"],
    "check": [
        "check translator toy --from en --lang pt",
        "check stage split --given '--fraction 0.5'",
        "check importer folder --example photos",
    ],
}
"""Small jobs of each command; ``adapt`` and ``demo`` are below."""
FIRST = {
    "export": TRAIN,
    "report": TRAIN,
    "footprint": "split shards --out parts",
    "status": "split shards --out parts --no-energy",
}
"""What must be there before a job."""

ELSEWHERE = {
    "quiet": "cli/app.py reads it before the command starts",
    "json": "cli/application.py hands it to the program as ``as_json``",
    "address": "pipeline/launchers/ray.py joins that cluster: tests/pipeline/launchers/test_ray.py",
    "gpus_per_worker": "pipeline/launchers/ray.py, on a cluster with GPUs: tests/pipeline/launchers/test_ray.py",
}
"""Options of every command that no small job can read, and where they are read."""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards (an image and a JSON are damaged), other shards, photos, and a set of classes."""
    folder = tmp_path_factory.mktemp("jobs")
    damaged = [
        toy_like(1, 8)[0].with_members(jpg=b"\xff\xd8\xff\xe0\x00\x10JFIF"),
        toy_like(1, 9)[0].with_members(json=b"["),
    ]
    written = Caption("um quadrado grande", "pt", "someone")
    translated = [
        each.with_captions(
            [*each.captions, Caption("um quadrado", "pt", "argos:en-pt", of=each.captions[0].text), written]
        )
        for each in toy_like(6)
    ]
    for name, samples in (("shards", [*translated, *damaged]), ("others", toy_like(2, 20))):
        (folder / name).mkdir()
        (folder / name / "00000.tar").write_bytes(shard_bytes(samples))
    (folder / "photos").mkdir()
    rows = ["image,caption"]
    for number in range(3):
        (folder / "photos" / f"{number}.jpg").write_bytes(jpeg((60 * number, 90, 30)))
        rows.append(f"{number}.jpg,a photo")
    (folder / "photos" / "captions.csv").write_text("\n".join([*rows, "none.jpg,a photo"]) + "\n")
    for part in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (folder / "classes" / part / name).mkdir(parents=True)
            for copy in range(6):
                color = (200 * number, 10 * copy, 40)
                (folder / "classes" / part / name / f"{copy}.jpg").write_bytes(jpeg(color))
    return folder


class Reads(set[tuple[type, str]]):
    """The options that the program read: class and field."""

    @contextlib.contextmanager
    def of(self, *classes: type) -> Iterator[None]:
        """Watch the options of these dataclasses inside the block."""
        with pytest.MonkeyPatch.context() as patch:
            for cls in classes:
                patch.setattr(cls, "__getattribute__", self._watching(cls))
            yield

    def _watching(self, cls: type) -> Any:
        names = {each.name for each in dataclasses.fields(cls)}

        def get(owner: Any, name: str) -> Any:
            if name in names and is_read(name, sys._getframe(1)):
                self.add((cls, name))
            return object.__getattribute__(owner, name)

        return get


def is_read(name: str, frame: FrameType | None) -> bool:
    """Whether the code in a frame reads an option to use it. ``parsed`` reads one of those that it looks through."""
    while frame is not None and frame.f_code.co_filename == machinery.__file__:
        if frame.f_code.co_name == "check_options":
            return False
        if frame.f_code.co_name == "parsed" and frame.f_locals["name"] != name:
            return False
        passed_parsed = frame.f_code.co_name == "parsed"
        frame = frame.f_back
        if not passed_parsed and frame is not None and frame.f_code.co_filename != machinery.__file__:
            return False  # ``option_values`` and the like
    return frame is not None and not frame.f_code.co_filename.endswith(ALIKE)


def classes_of(options: type) -> list[type]:
    """An options dataclass and those of its groups."""
    groups = [each.metadata["group"] for each in dataclasses.fields(options) if each.metadata.get("group")]
    return [options, *(inner for group in groups for inner in classes_of(group))]


def invocation(line: str) -> tuple[Invocation, bool]:
    """A command line parsed as the program does it, and whether it has ``--json``."""
    name, *words = shlex.split(line)
    parsed: list[tuple[Invocation, bool]] = []
    call(name, load_command(name), words, lambda given, streams, as_json: parsed.append((given, as_json)))
    return parsed[0]


def unread(command: Stage | Command, reads: Reads) -> set[str]:
    """The options of a command that are not in ``reads``."""
    own = {(cls, each.name) for cls in classes_of(command.options) for each in dataclasses.fields(cls)
           if not each.metadata.get("group")}  # fmt: skip
    shared = {(Settings, name) for name in command.shared}
    return {name for cls, name in (own | shared) - reads if not (cls is Settings and name in ELSEWHERE)}


@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_option_of_a_command_is_read_by_it(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    command, reads = load_command(name), Reads()
    if name in FIRST:
        perform(invocation(FIRST[name])[0])
    with reads.of(*classes_of(command.options), Settings):
        for line in JOBS[name]:
            given, as_json = invocation(line)
            perform(given, as_json=as_json)
    assert unread(command, reads) == set()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("adapt", "adapt shards --lang pt --name adapted --captioner toy --translator toy --model toy --eval toy"),
        ("demo", "demo"),
    ],
)
def test_every_option_of_a_command_that_runs_others_is_read_or_handed_on(
    name: str, line: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command line that it would perform is parsed with its settings, and the shared options of that are read."""
    monkeypatch.chdir(here)
    command, reads = load_command(name), Reads()
    given, _ = invocation(line)
    env = Performer().env(given.settings, name)
    handed: set[str] = set()

    def performed(words: list[str], settings: Settings) -> dict[str, Any]:
        if words[0] == "adapt":
            inner = parse_command(words, settings)
            return inner.command.run(inner.inputs, inner.options, env)  # type: ignore[union-attr,no-any-return,arg-type]
        handed.update(load_command(words[0]).shared)
        if words[0] == "eval":
            raise Finished
        return {}

    env.perform = performed  # type: ignore[assignment]
    with reads.of(*classes_of(command.options), Settings), pytest.raises(Finished):
        command.run(given.inputs, given.options, env)
    assert unread(command, reads) - handed <= {"summary", "dry_run"}  # the program reads them


class Finished(Exception):
    """The last command was reached."""


def test_an_option_that_nothing_reads_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: an option of ``split`` and a shared one that it ignores, both with names that other code reads."""
    monkeypatch.chdir(here)

    @dataclasses.dataclass(frozen=True)
    class Options:
        fraction: float = opt(0.1, "read below")
        model: str = opt("toy", "read by nothing")
        lang: str = opt("pt", "checked and never used", kind=Languages())

    def use(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
        return {"fraction": options.fraction, "seed": env.seed, "all": option_values(options)}

    planted = command("planted", Options, settings=("seed", "device", *COSTS))(use)
    reads = Reads()
    with reads.of(Options, Settings):
        perform(Invocation(planted, [], Options(), Settings()))
    assert unread(planted, reads) == {"model", "lang", "device"}


def test_every_command_is_tried() -> None:
    assert {*JOBS, "adapt", "demo"} == set(command_names())
