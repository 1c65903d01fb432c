"""The commands whose results are damaged, or whose inputs change, between two runs: the columns of the matrix."""

from __future__ import annotations

import csv
import functools
import io
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reliability import forked
from reliability.made_bad import Make, also, file, without
from support.made import shard_bytes, toy_like

from capivara_cli.shards.sample import Caption, Sample

SYNONYMS = "square\tbox,block\nbackground\tbackdrop,ground\nwhite\tpale\n"
RECIPE = """about = "a small method"

[[plan]]
step = "caption"
captioner = "toy"
n = {n}

[[plan]]
step = "translate"
lang = "{{lang}}"
translator = "toy"

[train]
steps = 2
batch-size = 4
warmup = 0
checkpoint-every = 1

[eval]
targets = ["heldout"]
"""


@dataclass(frozen=True, eq=False)
class Command:
    """One command line, in a folder with inputs.

    ``before`` writes the file ``stream.tar`` that it reads as standard input. ``results``: the files and folders that
    are compared. ``reader``: a command that reads the result into ``next``. ``input``: the kind of the inputs.
    ``places``: where the files are that can be damaged, by what they are; ``killed`` is the file before whose renaming
    a kill leaves the unfinished work of the places. ``slow``: loads a model.
    """

    name: str
    line: str
    make: Make
    inputs: tuple[str, ...]
    results: tuple[str, ...]
    input: str
    places: Mapping[str, str]
    option: tuple[str, Make] | None = None
    reader: str = ""
    before: str = ""
    killed: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False


def shard(start: int, tail: str = "") -> bytes:
    """A shard of two samples with English and Portuguese captions."""

    def bilingual(sample: Sample) -> Sample:
        pt = Caption(f"um quadrado {sample.key}{tail}", "pt", "toy:en-pt", sample.captions[0].text)
        return sample.with_captions([*sample.captions, pt])

    return shard_bytes([bilingual(sample) for sample in toy_like(2, start)])


def shards(folder: Path) -> None:
    for number in range(3):
        file(f"shards/{number:05d}.tar", shard(2 * number))(folder)
    file("others/00000.tar", shard(4))(folder)
    file("synonyms.tsv", SYNONYMS)(folder)


def photo(number: int) -> bytes:
    return toy_like(1, number)[0].members["jpg"]


def photos(folder: Path) -> None:
    for number in range(8):
        file(f"photos/{number}.jpg", photo(number))(folder)
    write_list(folder, [(f"photos/{number}.jpg", f"a photo of number {number}") for number in range(7)])
    file("mine.toml", RECIPE.format(n=1))(folder)


def write_list(folder: Path, rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([("image", "caption"), *rows])
    file("list.csv", out.getvalue())(folder)


def read_list(folder: Path) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in csv.reader(io.StringIO((folder / "list.csv").read_text()))][1:]


_TRAIN = (
    "train shards --lang pt --model toy --steps 3 --batch-size 4 --warmup 0 --checkpoint-every 1 --val others/00000.tar"
)


@functools.cache
def _trained() -> Path:
    """A folder with shards and two runs that differ in their seed, evaluated."""
    folder = Path(tempfile.mkdtemp(prefix="capivara-recovery-")) / "trained"
    folder.mkdir()
    shards(folder)
    for line in (f"{_TRAIN} --name pt", f"{_TRAIN} --name other --seed 1", "eval shards runs/pt --model toy"):
        if (ended := forked.run(line, folder)).code:
            raise RuntimeError(ended.said)
    shutil.rmtree(folder / "cache")
    shutil.rmtree(folder / "runs" / ".features")
    shutil.move(folder / "runs" / "other", folder / "other")
    return folder


def a_run(folder: Path) -> None:
    shutil.copytree(_trained(), folder, dirs_exist_ok=True)


_SHARDS = {"output": "out/00001.tar", "another": "out/00000.tar", "manifest": "out/manifest.jsonl",
           "claim": "out/.00001.tar.claim", "ledger": "out/footprint.jsonl"}  # fmt: skip
_RUN = {"output": "runs/pt/adapter/adapter_model.safetensors", "another": "other/adapter/adapter_model.safetensors",
        "manifest": "runs/pt/run.json", "ledger": "runs/pt/footprint.json"}  # fmt: skip
_REWRITE = "--rewriter eda --synonyms synonyms.tsv --batch-size 1"
_DEDUPE = "--captions keep --images exact --against others/00000.tar --against-by bytes"
_READ = "split out --fraction 0 --out next"
_OTHER_SYNONYMS = file("synonyms.tsv", SYNONYMS.replace("box", "tile"))
_OTHER_SHARD = file("others/00000.tar", shard(2))

COMMANDS = [
    Command("pack", "pack list.csv --images . --shard-size 3 --out out", photos, ("list.csv", "photos"),
            ("out",), "list", {**_SHARDS, "claim": "out/.manifest.jsonl.claim"},
            ("photos/1.jpg", file("photos/1.jpg", photo(11))), _READ, killed={"claim": "out/00001.tar"}),
    Command("map stage", f"rewrite shards {_REWRITE} --out out --rejects rejects", shards,
            ("shards", "synonyms.tsv"), ("out", "rejects"), "shards",
            {**_SHARDS, "journal": "out/.00001.tar.journal"}, ("synonyms.tsv", _OTHER_SYNONYMS), _READ,
            killed={"journal": "out/00001.tar", "claim": "out/00001.tar"}),
    Command("corpus stage", f"dedupe shards {_DEDUPE} --out out", shards, ("shards", "others"), ("out",), "shards",
            {**_SHARDS, "survey": "out/.corpus-1/00001.tar.survey.npz",
             "decision": "out/.corpus-1/00001.tar.decision.npz"}, ("others/00000.tar", _OTHER_SHARD), _READ,
            killed={"survey": "out/.corpus-1/00002.tar.decision.npz", "decision": "out/00000.tar",
                    "claim": "out/00001.tar"}),
    Command("stream to folder", f"dedupe - {_DEDUPE} --out out", shards, ("shards", "others"), ("out",), "shards",
            {**_SHARDS, "output": "out/00000.tar", "another": "others/00000.tar", "claim": "out/.manifest.jsonl.claim"},
            ("others/00000.tar", _OTHER_SHARD), _READ,
            before="split shards --fraction 0", killed={"claim": "out/00000.tar"}),
    Command("remote", f"rewrite file://{{here}}/shards/ {_REWRITE} --out file://{{here}}/out", shards,
            ("shards", "synonyms.tsv"), ("out",), "shards",
            {**_SHARDS, "claim": "", "journal": "cache/uploads/*/.00001.tar.journal"},
            ("synonyms.tsv", _OTHER_SYNONYMS), "split file://{here}/out/ --fraction 0 --out next",
            killed={"journal": "/00001.tar"}),
    Command("train", f"{_TRAIN} --name pt", shards, ("shards", "others"), ("runs/pt",), "shards",
            {**_RUN, "another": "", "store": "runs/.features/*/tokens", "checkpoint": "runs/pt/checkpoints/step-000002.pt"},
            ("others/00000.tar", _OTHER_SHARD), "export runs/pt --format peft --out next",
            killed={"checkpoint": "runs/pt/checkpoints/step-000003.pt"}, slow=True),
    Command("eval", "eval shards --model runs/pt --table table.csv",
            also(a_run, without("runs/pt/eval.json")), ("shards", "runs", "other"),
            ("runs/pt/eval.json", "table.csv"), "shards",
            {"output": "runs/pt/eval.json", "store": "cache/eval-images/*/*/*.npy", "manifest": "runs/pt/run.json",
             "ledger": "runs/pt/footprint.json"},
            ("runs/pt", lambda folder: other_run(folder)), "report runs/pt --out next.html", slow=True),
    Command("adapt", "adapt list.csv --recipe mine.toml --lang pt --name pt --model toy --fraction 0.3", photos,
            ("list.csv", "photos", "mine.toml"), ("runs/pt", "runs/pt-data"), "photos",
            {**_RUN, "another": "", "store": "runs/.features/*/tokens", "output": "runs/pt-data/train/00000.tar",
             "checkpoint": "runs/pt/checkpoints/step-000001.pt"},
            ("mine.toml", file("mine.toml", RECIPE.format(n=2))), "split runs/pt-data/train --fraction 0 --out next",
            killed={"checkpoint": "runs/pt/checkpoints/step-000002.pt"}, slow=True),
    Command("export", "export runs/pt --format peft --out out", a_run, ("runs", "other"), ("out",), "run",
            {"output": "out/adapter_model.safetensors", "another": "other/adapter/adapter_model.safetensors",
             "manifest": "runs/pt/run.json", "ledger": "runs/pt/footprint.json"}, slow=True),
    Command("report", "report runs/pt --shards shards --out page.html", a_run, ("runs", "other", "shards"),
            ("page.html",), "run",
            {"output": "page.html", "manifest": "runs/pt/run.json"}, slow=True),
    Command("search", "search 'a red square' shards --model toy --k 3", shards, ("shards",), ("shown",), "shards",
            {"store": "cache/search/*/features"}, slow=True),
]  # fmt: skip


def other_run(folder: Path) -> None:
    """The run has the adapter of the other one, as if it had been trained again with another seed."""
    shutil.rmtree(folder / "runs" / "pt")
    shutil.copytree(folder / "other", folder / "runs" / "pt")
