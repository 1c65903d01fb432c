"""A manifest in which anything is missing or of another type: a clear message, or the same result as without damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reliability.running import run
from support import variants
from support.altered import MISSING, altered, places
from support.made import toy_like
from support.made_stages import content

from capivara_cli.shards.manifest import MANIFEST, Manifest, ShardEntry, with_check

VALUES = [
    None, True, 0, -1, 7, 10**30, 1.5, float("nan"), "", "7", "../../x", "a\0b", [], [1], {}, {"a": 1}, [{"step": []}],
]  # fmt: skip
"""What a field is replaced by."""
COMMAND = ["split", "shards", "--fraction", "0.4", "--out", "out", "--no-energy"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards and what a command made of them."""
    from support.made import shard_bytes

    folder = tmp_path_factory.mktemp("finished")
    (folder / "shards").mkdir()
    for number in range(2):
        (folder / "shards" / f"{number:05d}.tar").write_bytes(shard_bytes(toy_like(5, 5 * number)))
    assert run(COMMAND, folder).code == 0
    shutil.copytree(folder / "out", folder / "clean")
    return folder


def lines_of(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def in_place(folder: Path, lines: list[Any]) -> None:
    (folder / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))


def in_a_log(folder: Path, lines: list[Any]) -> None:
    """The head is in the manifest, the shards are in the log of a process that was killed."""
    in_place(folder, lines[:1])
    (folder / f".{MANIFEST}.log-far-1-abcdef").write_text("".join(json.dumps(line) + "\n" for line in lines[1:]))


FORMS: list[Callable[[Path, list[Any]], None]] = [in_place, in_a_log]


def check(finished: Path, lines: list[Any], form: Callable[[Path, list[Any]], None]) -> None:
    """Any command gives the result of a clean run, or an error that is none of a bug."""
    out = finished / "out"
    shutil.rmtree(out)
    shutil.copytree(finished / "clean", out)
    (finished / "x.tar").write_bytes(b"of the user")
    form(out, lines)
    reading = run(["split", "out", "--fraction", "0.5", "--out", "next", "--no-energy"], finished)
    assert reading.code in (0, 1), reading.said
    ran = run(COMMAND, finished)
    assert ran.code in (0, 1), ran.said
    assert (finished / "x.tar").read_bytes() == b"of the user"
    if ran.code == 0:
        left = content(out)
        left.pop(f".{MANIFEST}.log-far-1-abcdef", None)
        assert left == content(finished / "clean")
    else:
        assert "out" in ran.said and "damaged" in ran.said, ran.said
    shutil.rmtree(finished / "next", ignore_errors=True)


@given(st.data())
@settings(
    max_examples=variants.number(20, 60),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_field_may_be_missing_or_of_another_type(finished: Path, data: st.DataObject) -> None:
    lines = lines_of(finished / "clean")
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.sampled_from(list(places(lines[number]))))
    value = data.draw(st.sampled_from([MISSING, *VALUES]))
    lines[number] = altered(lines[number], place, value)
    check(finished, lines, data.draw(st.sampled_from(FORMS)))


@pytest.mark.parametrize("key", variants.some(["shard", "input", "read", "written", "bytes", "digest", "steps"], 3))
def test_of_a_line_without_a_checksum_every_type_is_checked(key: str, finished: Path) -> None:
    """As older versions wrote them."""
    for value in VALUES:
        head, line, other = (
            {key: each for key, each in line.items() if key != "check"} for line in lines_of(finished / "clean")
        )
        out = finished / "out"
        shutil.rmtree(out)
        shutil.copytree(finished / "clean", out)
        in_place(out, [head, altered(line, (key,), value), other])
        ran = run(COMMAND, finished)
        assert ran.code == 0, (value, ran.said)
        assert {name: data for name, data in content(out).items() if name != MANIFEST} == {
            name: data for name, data in content(finished / "clean").items() if name != MANIFEST
        }


@pytest.mark.parametrize("line", [b"[" * 100_000, b"\xff\xfe", b"[]", b"1", b'"x"', b"null", b"{}", b'{"shard": "a'])
def test_a_line_that_is_none_is_passed_over(line: bytes, finished: Path) -> None:
    text = (finished / "clean" / MANIFEST).read_bytes()
    manifest = Manifest.parse(text + line + b"\n")
    assert list(manifest.done) == ["00000.tar", "00001.tar"]
    with pytest.raises(ValueError, match="its first line has no plan"):
        Manifest.parse(line)


@pytest.mark.parametrize("name", ["", ".", "..", "../a.tar", "/etc/a.tar", "a/b.tar", "a\0.tar", 5, None, ["a.tar"]])
def test_a_line_names_a_file_of_its_folder(name: object) -> None:
    with pytest.raises(ValueError):
        ShardEntry.from_json(with_check({"shard": name, "input": None}))


def test_an_altered_number_is_noticed() -> None:
    entry = ShardEntry("a.tar", {"name": "a.tar", "size": 5}, read=3, written=3, size=9, digest="xxh3:0")
    line = entry.to_json()
    assert ShardEntry.from_json(json.loads(entry.line)) == entry
    for key, value in {"read": 4, "written": 2, "bytes": 8, "digest": "xxh3:1", "shard": "b.tar"}.items():
        with pytest.raises(ValueError, match="a line was altered"):
            ShardEntry.from_json({**line, key: value})
    assert ShardEntry.from_json({key: value for key, value in line.items() if key != "check"}) == entry
