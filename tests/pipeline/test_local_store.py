"""A finished folder is looked at before it is called up to date: what was damaged since is made again."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reliability.running import run
from support.damage import DAMAGES
from support.made import jpeg
from support.made_stages import UniqueOptions, WorkOptions, content, fill, small, unique, work

from capivara_cli.pipeline import local_store
from capivara_cli.pipeline.stage import Step

WORK, UNIQUE = Step(work, WorkOptions()), Step(unique, UniqueOptions())
PLANS = {"a map": [WORK], "a corpus stage": [UNIQUE]}


@pytest.fixture
def three(shards: Callable[..., Path]) -> Path:
    return shards(*[small(10, 10 * number) for number in range(3)])


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose digest is computed for the sake of it."""
    names: list[str] = []

    def noted(path: Path) -> str:
        names.append(path.name)
        return original(path)

    original = local_store.digest_of_file
    monkeypatch.setattr(local_store, "digest_of_file", noted)
    return names


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_output_is_made_again(
    damage: str, plan: str, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    fill(PLANS[plan], three, out)
    clean = content(out)
    DAMAGES[damage](out / "00001.tar")
    report = fill(PLANS[plan], three, out)
    assert (report.resumed, report.shards) == (2, 1)
    assert f"{out}: 00001.tar missing, or damaged since it was finished: made again" in capsys.readouterr().err
    assert content(out) == clean
    assert fill(PLANS[plan], three, out).resumed == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_output_of_pack_is_made_again(damage: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(jpeg((80 * number, 0, 0)))
    words = ["pack", "photos", "--shard-size", "2", "--out", "out", "--no-energy"]
    assert run(words, tmp_path).code == 0
    clean = content(tmp_path / "out")
    DAMAGES[damage](tmp_path / "out" / "00001.tar")
    said = run(words, tmp_path).said
    assert said.count("out: 00001.tar missing, or damaged since it was finished: all shards are made again") == 1
    assert content(tmp_path / "out") == clean
    assert "up to date" in run(words, tmp_path).said


def test_finished_shards_are_not_read(three: Path, tmp_path: Path, verified: list[str]) -> None:
    fill([WORK], three, tmp_path / "out")
    assert fill([WORK], three, tmp_path / "out").resumed == 3
    assert verified == []


def test_what_only_looks_altered_is_read_once(three: Path, tmp_path: Path, verified: list[str]) -> None:
    """A copy has new times; so has a file whose mode was changed."""
    fill([WORK], three, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copy)
    for shard in (tmp_path / "copy").glob("*.tar"):
        os.utime(shard)
    (tmp_path / "out" / "00002.tar").chmod(0o640)
    for _ in range(2):
        assert fill([WORK], three, tmp_path / "copy").resumed == 3
        assert fill([WORK], three, tmp_path / "out").resumed == 3
    assert sorted(verified) == ["00000.tar", "00001.tar", "00002.tar", "00002.tar"]


def test_damage_before_a_stopped_run_goes_on_is_found(three: Path, tmp_path: Path) -> None:
    """The finished shards of a killed process are in its log."""
    out = tmp_path / "out"
    fill([WORK], three, tmp_path / "clean")
    fill([WORK], three, out, share="1/3")
    head, line = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(head)
    (out / ".manifest.jsonl.log-far-1-abcdef").write_bytes(b'{"writer": {}}\n' + line)
    DAMAGES["flipped"](out / "00000.tar")
    assert fill([WORK], three, out).shards == 3
    assert content(out) == content(tmp_path / "clean")


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """A function that puts a folder on a read-only disk."""

    def make(folder: Path) -> None:
        def refuse(path: Any) -> None:
            if isinstance(path, (str, os.PathLike)) and Path(path).absolute().is_relative_to(folder):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        def guarded(name: str, writes: Callable[..., bool]) -> None:
            original = getattr(os, name)

            def call(path: Any, *args: Any, **kwargs: Any) -> Any:
                if writes(*args):
                    refuse(path)
                return original(path, *args, **kwargs)

            monkeypatch.setattr(os, name, call)

        for name in ("unlink", "rename", "replace", "mkdir", "rmdir", "utime", "chmod", "truncate"):
            guarded(name, lambda *args: True)
        guarded("open", lambda flags, *args: flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) != 0)
        opened = io.open

        def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if set(mode) & set("wax+"):
                refuse(file)
            return opened(file, mode, *args, **kwargs)

        monkeypatch.setattr(io, "open", open_)
        monkeypatch.setattr("builtins.open", open_)

    return make


@pytest.mark.parametrize("line", ["split shards --fraction 0.2", "dedupe shards --images exact", "pack photos"])
def test_a_finished_folder_on_a_read_only_disk_is_up_to_date(
    line: str, three: Path, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg())
    words = [*line.split(), "--out", "out"]
    assert run(words, tmp_path).code == 0
    read_only(tmp_path / "out")
    ran = run(words, tmp_path)
    assert (ran.code, "up to date" in ran.said) == (0, True), ran.said
    assert "Read-only file system" in ran.said  # one line: the cost of this command is not recorded
    assert run([*words, "--no-energy"], tmp_path).said.count("\n") == 1


def test_an_unfinished_folder_on_a_read_only_disk_is_an_error(
    three: Path, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    words = ["split", "shards", "--out", "out"]
    assert run(words, tmp_path).code == 0
    (tmp_path / "out" / "00001.tar").unlink()
    read_only(tmp_path / "out")
    ran = run(words, tmp_path)
    assert (ran.code, "Read-only file system" in ran.said) == (1, True)


@pytest.mark.parametrize("name", ["00000.tar", ".00000.tar.record"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_rejects_are_made_again(damage: str, name: str, three: Path, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects"
    fill([WORK], three, tmp_path / "out", rejects=str(rejects))
    clean = content(tmp_path / "out"), content(rejects)
    DAMAGES[damage](rejects / "1-work" / name)
    assert fill([WORK], three, tmp_path / "out", rejects=str(rejects)).resumed == 2
    assert (content(tmp_path / "out"), content(rejects)) == clean
    assert fill([WORK], three, tmp_path / "out", rejects=str(rejects)).resumed == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_rejects_of_pack_are_made_again(damage: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg())
    (tmp_path / "photos" / "b.jpg").write_bytes(b"no image")
    words = ["pack", "photos", "--out", "out", "--rejects", "rejects", "--no-energy"]
    assert run(words, tmp_path).code == 0
    clean = content(tmp_path / "rejects")
    DAMAGES[damage](tmp_path / "rejects" / "1-pack" / "stream.tar")
    assert run(words, tmp_path).code == 0
    assert content(tmp_path / "rejects") == clean
    assert "up to date" in run(words, tmp_path).said
