"""A shard is compared with what its manifest says of it, wherever it is read to its end."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.damage import flipped, unnoticed
from support.made import toy_like
from support.made_stages import WorkOptions, content, fill, work

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.source import Source
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.manifest import MANIFEST, Manifest
from capivara_cli.shards.recorded import DamagedShard
from capivara_cli.shards.sample import Sample
from capivara_cli.storage.digests import digest_of_file

WORK = Step(work, WorkOptions())


@pytest.fixture
def made(shards: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of two shards that a command wrote."""
    fill([WORK], shards(toy_like(6), toy_like(5, 6)), tmp_path / "made")
    return tmp_path / "made"


def swapped(data: bytes) -> bytes:
    """Two blocks of the first image are exchanged: a tar as valid as before."""
    start = data.index(b"\xff\xd8\xff")
    return data[:start] + data[start + 64 : start + 128] + data[start : start + 64] + data[start + 128 :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit": flipped,
    "an image": swapped,
    "a header": lambda data: data.replace(b"00007.jpg", b"00001.jpg"),
    "a digit in json": lambda data: data.replace(b"square number 1", b"square number 7"),
    "the end marker": lambda data: data[:-700] + b"x" + data[-699:],
    "cut": lambda data: data[:-1024],
    "empty": lambda data: b"",
    "history": lambda data: data.replace(b'"work"', b'"wory"', 1),
}


def test_what_a_command_wrote_is_recorded(made: Path) -> None:
    manifest = Manifest.load(made)
    assert manifest is not None
    assert {name: entry.digest for name, entry in manifest.done.items()} == {
        name: digest_of_file(made / name) for name in ("00000.tar", "00001.tar")
    }


@pytest.mark.parametrize("change", CHANGES)
def test_a_reader_finds_damage_and_says_what_to_do(change: str, made: Path) -> None:
    unnoticed(made / "00001.tar", CHANGES[change])
    with pytest.raises(DamagedShard) as raised, open_shard(str(made / "00001.tar")) as samples:
        list(samples)
    assert raised.value.message == (
        f"{made}/00001.tar: damaged: its content is not what its command wrote (digest differs)"
    )
    assert raised.value.hint == (
        "delete it, and run the command that made it again (work): it makes only the missing shards"
    )
    with open_shard(str(made / "00000.tar")) as samples:
        assert len(list(samples)) == 6


@pytest.mark.parametrize("change", ["an image", "a digit in json"])
def test_nothing_that_is_made_of_a_damaged_shard_is_finished(change: str, made: Path, tmp_path: Path) -> None:
    unnoticed(made / "00001.tar", CHANGES[change])
    with pytest.raises(DamagedShard):
        fill([WORK], made, tmp_path / "out")
    manifest = Manifest.load(tmp_path / "out")
    assert manifest is not None and list(manifest.done) == ["00000.tar"]
    assert not (tmp_path / "out" / "00001.tar").exists()
    out = io.BytesIO()
    with pytest.raises(DamagedShard):
        engine.run([WORK], [str(made)], Settings(quiet=True, energy=False), out)
    assert not out.getvalue().endswith(bytes(1024))
    with pytest.raises(DamagedShard):
        list(Source([str(made)], Env(Settings(), "train")))


def test_the_advice_helps(shards: Callable[..., Path], made: Path, tmp_path: Path) -> None:
    clean = content(made)
    unnoticed(made / "00001.tar", CHANGES["an image"])
    with pytest.raises(DamagedShard):
        fill([WORK], made, tmp_path / "out")
    (made / "00001.tar").unlink()
    assert fill([WORK], tmp_path / "shards", made).shards == 1
    assert content(made) == clean
    assert fill([WORK], made, tmp_path / "out").resumed == 1


def test_an_error_in_a_stage_is_not_blamed_on_a_sound_shard(made: Path, tmp_path: Path) -> None:
    def broken(samples: Iterator[Sample], options: object, env: Env) -> Iterator[Sample]:
        raise ZeroDivisionError
        yield

    step = Step(Stage("work", WorkOptions, broken), WorkOptions())
    with pytest.raises(ZeroDivisionError):
        fill([step], made, tmp_path / "out")
    unnoticed(made / "00000.tar", CHANGES["an image"])
    with pytest.raises(DamagedShard):
        fill([step], made, tmp_path / "other")


def without_digests(folder: Path) -> None:
    """Make the manifest one of a version that wrote no digests."""
    lines = [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if key not in ("digest", "check")} for line in lines]
    (folder / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in kept))


def test_folders_of_older_versions_are_read_and_resumed(made: Path, tmp_path: Path) -> None:
    without_digests(made)
    unnoticed(made / "00001.tar", CHANGES["an image"])
    assert fill([WORK], made, tmp_path / "out").shards == 2
    assert fill([WORK], tmp_path / "shards", made).resumed == 2
    unnoticed(made / "00001.tar", CHANGES["cut"])
    with pytest.raises(CapivaraError, match=r"damaged: 00001\.tar has"):
        fill([WORK], made, tmp_path / "other")


def test_a_shard_without_a_manifest_is_not_compared(made: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(made / "00001.tar", tmp_path / "alone")
    (tmp_path / "alone" / "00001.tar").write_bytes(CHANGES["an image"]((made / "00001.tar").read_bytes()))
    for other in (None, b"", b"\xff\n", b"[]\n", b'{"plan": 1}\n'):
        if other is not None:
            (tmp_path / "alone" / MANIFEST).write_bytes(other)
        with open_shard(str(tmp_path / "alone" / "00001.tar")) as samples:
            assert len(list(samples)) == 5


@pytest.mark.parametrize("change", ["an image", "a header"])
def test_a_remote_shard_is_compared_while_it_is_read(change: str, made: Path, tmp_path: Path) -> None:
    url = f"file://{made}"
    with open_shard(f"{url}/00001.tar") as samples:
        assert len(list(samples)) == 5
    unnoticed(made / "00001.tar", CHANGES[change])
    with pytest.raises(CapivaraError, match=f"{url}/00001.tar: ") as raised:
        engine.run([WORK], [f"{url}/"], Settings(out=str(tmp_path / "out"), quiet=True, energy=False), None)
    assert isinstance(raised.value, DamagedShard) or "checksum" in raised.value.message
    assert not (tmp_path / "out" / "00001.tar").exists()


def test_a_shard_that_was_made_again_meanwhile_is_not_damaged(
    shards: Callable[..., Path], made: Path, tmp_path: Path
) -> None:
    """The manifest of a remote folder is read once per process."""
    url = f"file://{made}"
    with open_shard(f"{url}/00001.tar") as samples:
        list(samples)
    fill([WORK], shards(toy_like(6), toy_like(7, 20)), made)
    with open_shard(f"{url}/00001.tar") as samples:
        assert len(list(samples)) == 7
