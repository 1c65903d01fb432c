"""No option writes over an input or among the inputs, however the path is spelled; what is no input is written."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

import pytest
from reliability.running import run
from support.made import jpeg, shard_bytes, toy_like

from capivara_cli.cli.outputs import _BEGINNINGS
from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.perform import perform
from capivara_cli.pipeline.options import Settings, option_fields
from capivara_cli.registry import command_names, load_command

_FOLDERS = {"out", "rejects", "runs", "to", "hf"}
"""Options that name a folder to write. ``export`` refuses one that exists, ``train`` one that is no run."""

TOY = "--lang pt --model toy --captioner toy --translator toy --eval toy"


def made(folder: Path) -> Path:
    """Shards, photos with captions beside them, a table, texts for models, and a run of which only the names count."""
    (folder / "shards").mkdir(parents=True)
    (folder / "photos" / "sub").mkdir(parents=True)
    (folder / "run" / "adapter").mkdir(parents=True)
    (folder / "rejected" / "1-split").mkdir(parents=True)
    for name in ("shards/00000.tar", "shards/00001.tar", "rejected/1-split/00000.tar"):
        (folder / name).write_bytes(shard_bytes(toy_like(2)))
    (folder / "photos" / "a.jpg").write_bytes(jpeg())
    (folder / "photos" / "a.txt").write_text("a red square\n")
    (folder / "photos.csv").write_text("image,caption\nphotos/a.jpg,a red square\n")
    for name in ("words.txt", "run/run.json", "run/adapter/adapter_config.json"):
        (folder / name).write_text("{}\n")
    (folder / "link").symlink_to("shards")
    (folder / "null").symlink_to("/dev/null")
    (folder / "link.tar").symlink_to("shards/00000.tar")
    os.link(folder / "shards" / "00000.tar", folder / "hard.data")
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return made(tmp_path / "here")


def contents(folder: Path) -> dict[str, str]:
    """Every path with the checksum of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


SAME = [
    "shards/00000.tar", "./shards/00000.tar", "photos/../shards/00000.tar", "link/00000.tar", "link.tar",
    "{here}/link.tar", "hard.data",
]  # fmt: skip


@pytest.mark.parametrize("spelled", SAME)
@pytest.mark.parametrize("option", ["--summary", "--ledger", "--rejects", "--out"])
def test_an_output_over_an_input_file_is_refused_in_every_spelling(option: str, spelled: str, here: Path) -> None:
    refused(f"split shards/00000.tar {option} {spelled.format(here=here)}", option, here)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("show shards/00000.tar --html link.tar", "--html"),
        ("search x shards/00000.tar --model toy --html hard.data", "--html"),
        ("search --queries words.txt shards --model toy --html words.txt", "--html"),
        ("eval shards --model toy --classes photos.csv --table x.csv,photos.csv", "--table"),
        ("eval shards --model toy --classes words.txt --summary ./words.txt", "--summary"),
        ("eval photos.csv --model toy --table photos.csv", "--table"),
        ("caption shards --captioner toy --prefixes words.txt --out x --summary words.txt", "--summary"),
        ("rewrite shards --rewriter eda --synonyms words.txt --out x --ledger words.txt", "--ledger"),
        ("run 'caption --captioner toy --prefixes words.txt | split' shards --out x --summary words.txt", "--summary"),
        ("slurm 'caption --captioner toy --prefixes words.txt' shards --out x --summary words.txt", "--summary"),
        ("pack photos.csv --out x --summary photos.csv", "--summary"),
        ("pack photos.csv --out x --summary photos/a.jpg", "--summary"),
        ("pack photos.csv --out x --rejects photos/a.jpg", "--rejects"),
        ("footprint shards --summary shards", "--summary"),
        ("split shards/{00000..00001}.tar --out x --summary shards/00001.tar", "--summary"),
        ("split shards/*.tar --out x --summary shards/00001.tar", "--summary"),
        ("split shards --out x --dry-run --summary shards/00001.tar", "--summary"),
    ],
)
def test_an_output_over_an_input_is_refused_by_every_command(line: str, option: str, here: Path) -> None:
    refused(line, option, here)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("split shards --out x --summary shards/00002.tar", "--summary"),
        ("split shards --out x --summary link/00002.tar.gz", "--summary"),
        ("split shards/*.tar --out x --summary shards/00002.tar", "--summary"),
        ("split shards --out x --summary shards/manifest.jsonl", "--summary"),
        ("split shards --out x --ledger shards/footprint.jsonl", "--ledger"),
        ("split shards --out x --summary x/manifest.jsonl", "--summary"),
        ("split shards --out x --ledger x/00000.tar", "--ledger"),
        ("split shards --out x --rejects shards", "--rejects"),
        ("split shards --out x --rejects ./link", "--rejects"),
        ("split rejected/1-split --out x --rejects rejected", "--rejects"),
        ("dedupe shards --against rejected/1-split --out x --rejects rejected", "--rejects"),
        ("split shards --out rejected/1-split --rejects rejected", "--rejects"),
        ("eval shards run --model toy --table run/MODEL_CARD.md", "--table"),
        ("eval shards run --model toy --summary run/run.json", "--summary"),
        ("filter shards --model run --out x --summary run/adapter/adapter_config.json", "--summary"),
        ("eval photos --model toy --summary photos/new.jpg", "--summary"),
        ("pack photos --out x --summary photos/new.json", "--summary"),
        ("pack photos --out x --ledger photos/sub/costs.jsonl", "--ledger"),
        ("pack . --out ../x --summary summary.json", "--summary"),
        ("pack photos --out x --rejects photos/sub/rejects", "--rejects"),
        ("run 'pack | split' photos --out x --summary photos/new.json", "--summary"),
        ("pack photos/a.jpg --out x --summary photos/a.json", "--summary"),
        (f"adapt photos {TOY} --ledger photos/costs.jsonl", "--ledger"),
        (f"adapt shards {TOY} --rejects shards", "--rejects"),
    ],
)
def test_an_output_among_the_inputs_is_refused(line: str, option: str, here: Path) -> None:
    refused(line, option, here)


def test_photos_are_packed_into_their_own_folder_and_again_nothing_changes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that capivara filled is no input: neither its shards nor the examples of a run."""
    monkeypatch.chdir(here / "photos")
    first = perform(parse_command(["pack", "."], Settings(energy=False)))
    (here / "photos" / "runs" / "pt" / "examples").mkdir(parents=True)
    for name in ("run.json", "metrics.jsonl", "examples/a.jpg"):
        (here / "photos" / "runs" / "pt" / name).write_bytes(b"{}")
    before = contents(here)
    again = perform(parse_command(["pack", "."], Settings(energy=False)))
    assert (first["written"] > 0, again["written"], again["resumed_shards"]) == (True, 0, 1)
    assert contents(here) == before


def test_a_file_that_a_redirection_reads_is_an_input(here: Path) -> None:
    before = contents(here)
    ran = run(["split", "-", "--summary", "shards/00000.tar"], here, stdin=here / "shards" / "00000.tar")
    assert (ran.code, ran.shown) == (2, b"") and "is also the input standard input" in ran.said
    assert contents(here) == before


@pytest.mark.parametrize(
    "line",
    [
        "split shards --out x --ledger same.json --summary ./same.json",
        "show shards --html same.json --summary same.json",
        "eval shards --model toy --table link2/t.csv --summary link2/../link2/t.csv",
        "split shards --out x --rejects x",
    ],
)
def test_two_options_do_not_write_one_file(line: str, here: Path) -> None:
    assert "writes there too" in refused(line, "--", here)


@pytest.mark.parametrize(
    "line",
    [
        "split shards --out x --summary shards/about.json --rejects shards/rejected --ledger shards/costs.jsonl",
        "split shards --out shards/x --summary shards/x/about.json",
        "show shards --html shards/page.html",
        "pack photos.csv --out photos/x --summary photos/about.json",
        "pack photos --out photos2 --summary photos2/about.json",
        "footprint costs.jsonl --summary about.json",
        "split shards --out x --summary null --ledger null",
        "footprint --summary about.json -- true --summary about.json",
    ],
)
def test_what_is_no_input_is_written_also_again(line: str, here: Path) -> None:
    assert run(["split", "shards", "--out", "before", "--ledger", "costs.jsonl"], here).code == 0
    for _ in range(2):
        ran = run(shlex.split(line), here)
        assert ran.code == 0, ran.said


def test_every_option_that_names_a_file_to_write_is_checked() -> None:
    for options in [Settings, *(load_command(name).options for name in command_names())]:
        for each in option_fields(options):
            text = each.metadata.get("help", "")
            if each.default == "" and ("write" in text.split() or "append" in text.split()):
                assert each.metadata.get("output") or each.name in _FOLDERS, f"{options}: {each.name}"
            assert not each.metadata.get("output") or each.name in _BEGINNINGS


def refused(line: str, option: str, here: Path) -> str:
    """Run a command line that is refused with exit code 2, naming the option, before it has changed anything."""
    before = contents(here)
    words = shlex.split(line)
    ran = run(words, here)
    assert (ran.code, ran.said.startswith(f"capivara: {option}") or option in ran.said) == (2, True), ran.said
    assert contents(here) == before
    return ran.said
