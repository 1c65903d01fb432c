"""Random sequences of runs, kills, changed inputs and damaged outputs over one folder, repeatable by their seed.

After each run, the result equals that of a clean run of the same command on the present inputs, byte for byte; or the
command says why not, and does its work when its advice is followed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reliability import forked, trees
from reliability.forked import Ended
from support.made import shard_bytes, toy_like

LINES = (
    "split shards --fraction 0.5 --out out",
    "split shards --fraction 0.5 --out out --rejects rejects",
    "split shards --part heldout --fraction 0.5 --out out",
    "dedupe shards --out out",
    "dedupe shards --captions keep --images exact --out out --rejects rejects",
    "dedupe shards --captions keep --images exact --against others/00000.tar --against-by bytes --out out",
    "filter shards --no-score --rules length,boilerplate --max-images 2 --out out",
    "rewrite shards --rewriter eda --synonyms synonyms.tsv --batch-size 1 --out out",
    "rewrite shards --rewriter eda --synonyms synonyms.tsv --n 2 --batch-size 1 --out out --rejects rejects",
    "run 'dedupe | rewrite --rewriter eda --synonyms synonyms.tsv | dedupe --images exact' shards --out out",
    "split shards --fraction 0 --out file://{here}/out",
    "pack photos/list.csv --shard-size 2 --out out",
)
READER = "split out --fraction 0 --out next"
CAUSES = (
    r"out: holds the result of another plan or other options",
    r"out(/\S+)?: (damaged|incomplete|unfinished)",
    r"out: holds shards but no manifest\.jsonl",
    r"photos/list\.csv: ",
    r"out/footprint\.jsonl: not a ledger of footprints",
)
"""What a command may say instead of doing its work."""
_RESULTS = ("out", "rejects")


class Fault(AssertionError):
    """A result that is neither right nor refused."""


@dataclass
class World:
    """A folder with inputs, and what a sequence has done to it. ``damaged``: files whose size is as before."""

    folder: Path
    random: random.Random
    line: str = LINES[0]
    made: int = 0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("shards", "others", "photos"):
            (self.folder / name).mkdir(parents=True)
        for number in range(self.random.randint(2, 4)):
            self.write_shard(f"{number:05d}.tar")
        self.write(self.folder / "others" / "00000.tar", shard_bytes(toy_like(1, 2)))
        for number in range(3):
            self.write_photo(number)
        self.write_list(range(3))
        self.write_synonyms()

    def write(self, path: Path, data: bytes) -> None:
        """Write an input with a time of its own: a file of the same size and time counts as unchanged."""
        path.write_bytes(data)
        self.made += 1
        os.utime(path, ns=(self.made * 10**9, self.made * 10**9))

    def write_shard(self, name: str) -> None:
        start, count = self.random.randrange(5), self.random.randint(1, 3)
        samples = toy_like(count, 10 * self.made)
        looks = toy_like(count, start)  # shards share images
        self.write(
            self.folder / "shards" / name,
            shard_bytes([type(a)(a.key, {"jpg": b.members["jpg"], "json": a.members["json"]}) for a, b in zip(samples, looks, strict=True)]),
        )  # fmt: skip

    def write_photo(self, number: int) -> None:
        data = toy_like(1, self.random.randrange(20))[0].members["jpg"]
        self.write(self.folder / "photos" / f"{number}.jpg", data)

    def write_list(self, numbers: range) -> None:
        rows = "".join(f"{number}.jpg,a photo of {self.made} things\n" for number in numbers)
        self.write(self.folder / "photos" / "list.csv", f"image,caption\n{rows}".encode())

    def write_synonyms(self) -> None:
        self.write(self.folder / "synonyms.tsv", f"square\tbox{self.made},block\nbackground\tground\n".encode())


# What happens


def run(world: World) -> None:
    """The command, which must end well."""
    ended = forked.run(world.line, world.folder)
    world.told.append(f"run: {ended.code}")
    check(world, ended)


def kill(world: World) -> None:
    """The command, killed before one of its changes of the file system."""
    place = world.random.randint(1, 60)
    ended = forked.run(world.line, world.folder, kill_at=place)
    world.told.append(f"kill before change {place}: {ended.code}")
    if ended.code != -9:
        check(world, ended)


def other_options(world: World) -> None:
    """From now on another command, into the same folder."""
    world.line = world.random.choice(LINES)
    world.told.append(f"$ {world.line}")


def change_input(world: World) -> None:
    """An input is added, removed, changed or renamed; or the files of options and the photos are others."""
    folder = world.folder / "shards"
    shards = sorted(folder.glob("*.tar"))
    free = next(name for number in range(9) if not (folder / (name := f"{number:05d}.tar")).exists())
    what, chosen = world.random.choice(["add", "remove", "change", "rename", "option"]), world.random.choice(shards)
    if what == "option":
        world.write_synonyms()
        world.write_photo(world.random.randrange(3))
        world.write_list(range(world.random.randint(1, 3)))
        world.write(world.folder / "others" / "00000.tar", shard_bytes(toy_like(1, world.random.randrange(5))))
    elif what == "add" and len(shards) < 4:
        world.write_shard(free)
    elif what == "remove" and len(shards) > 1:
        chosen.unlink()
    elif what == "rename":
        chosen.rename(folder / free)
    else:
        world.write_shard(chosen.name)
    world.told.append(f"{what} {chosen.name if what != 'option' else ''}")


def damage_output(world: World) -> None:
    """A file of the result is damaged: a shard, a record, a file of an unfinished pass."""
    files = [path for name in _RESULTS for path in sorted((world.folder / name).rglob("*")) if path.is_file()]
    if not files:
        return
    chosen = world.random.choice(files)
    is_record = not chosen.name.endswith((".tar", ".npz"))  # the text of a record has no digest: a digit is a digit
    what = world.random.choice([name for name in trees.DAMAGE if not (is_record and name == "flipped")])
    trees.DAMAGE[what](chosen)
    world.told.append(f"{what}: {chosen.relative_to(world.folder)}")


ACTIONS: tuple[Callable[[World], None], ...] = (
    run, run, kill, kill, change_input, change_input, damage_output, damage_output, other_options,
)  # fmt: skip


def play(seed: int, folder: Path) -> None:
    """Play one sequence, and end it with a run. Raises ``Fault``, which shows the seed and all that was done."""
    source = random.Random(seed)
    folder.mkdir(parents=True)
    world = World(folder, source)
    try:
        other_options(world)
        for _ in range(source.randint(3, 8)):
            source.choice(ACTIONS)(world)
        run(world)
    except (Fault, TimeoutError) as fault:
        done = "\n  ".join(world.told)
        raise Fault(f"seed {seed}:\n  {done}\n{fault}") from None
    finally:
        shutil.rmtree(folder.with_name(f"{folder.name}-clean"), ignore_errors=True)


# What must come of it


def check(world: World, ended: Ended) -> None:
    """The result of a command that ended by itself is that of a clean run; or the cause is named, and can be mended."""
    if ended.code == 0 and not (wrong := compared(world)):
        return
    if ended.code == 0:
        found_by_reader(world, wrong)
        again = forked.run(world.line, world.folder)
        world.told.append(f"run again: {again.code}")
        if again.code == 0 and (wrong := compared(world)):
            raise Fault(f"refused by the next command, and not made again: {wrong}\n{again.said}")
        if again.code == 0:
            return
        ended = again
    if ended.code != 1 or not any(re.search(cause, ended.said) for cause in CAUSES):
        raise Fault(f"exit {ended.code}, and no cause is named:\n{ended.said}")
    if "photos/list.csv" in ended.said:
        return
    if not re.search(r"delete|--overwrite|choose another folder with --out", ended.said):
        raise Fault(f"the message does not say what to do:\n{ended.said}")
    trees.removed(world.folder / ("out/footprint.jsonl" if "not a ledger" in ended.said else "out"))
    last = forked.run(world.line, world.folder)
    world.told.append(f"run without the folder: {last.code}")
    if last.code or (wrong := compared(world)):
        raise Fault(f"after its advice: exit {last.code}; {wrong}\n{last.said}")


def found_by_reader(world: World, wrong: str) -> None:
    """The next command refuses the damaged folder."""
    shutil.rmtree(world.folder / "next", ignore_errors=True)
    read = forked.run(READER, world.folder)
    world.told.append(f"{READER}: {read.code}")
    if read.code != 1 or not re.search(r"out(/\S+)?: (damaged|incomplete|unfinished)", read.said):
        raise Fault(f"exit 0, and the result is not that of a clean run: {wrong}\n{read.said}")


def compared(world: World) -> str:
    """What differs from a clean run of the command in a new folder; "" if nothing does."""
    clean = world.folder.with_name(f"{world.folder.name}-clean")
    shutil.rmtree(clean, ignore_errors=True)
    for name in ("shards", "others", "photos"):
        trees.copied(world.folder / name, clean / name)
    shutil.copy2(world.folder / "synonyms.tsv", clean / "synonyms.tsv")
    ended = forked.run(world.line, clean)
    if ended.code:
        raise Fault(f"a clean run ends with {ended.code}:\n{ended.said}")
    rejects = sorted(str(path.relative_to(clean)) for path in clean.glob("rejects/*"))
    names = ["out", *rejects]
    return trees.difference(trees.content(world.folder, names), trees.content(clean, names))
