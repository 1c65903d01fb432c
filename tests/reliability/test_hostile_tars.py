"""Malicious tars: each is refused with a message and exit code 1, or its hidden members are ignored and counted."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import resource
import subprocess
import sys
import tarfile
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from capivara_cli.cli.app import guarded
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.reports.samples_page import PageSection, html_page
from capivara_cli.shards import archive
from capivara_cli.shards.archive import MAX_MEMBERS, MAX_NAME, ShardReader
from capivara_cli.shards.tar import BLOCK, END, MAX_MEMBER, TarReader, TarWriter

OUTSIDE = "it points outside the archive"
NO_TAR = "not a tar, or a damaged one (header checksum does not match), at byte 0"
PAX = "a damaged pax header"


def header(name: bytes, size: bytes = b"00000000000\0", kind: bytes = b"0", rest: bytes = b"ustar\x0000") -> bytes:
    """One header with a right checksum, whatever is in its fields."""
    block = bytearray(name.ljust(100, b"\0") + b"0000644\x000000000\x000000000\0" + size + b"00000000000\0")
    block += b" " * 8 + kind + bytes(100) + rest.ljust(255, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def octal(size: int) -> bytes:
    return b"%011o\0" % size


def blocks(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"1", kind: bytes = b"0") -> bytes:
    return header(name, octal(len(data)), kind) + blocks(data)


def record(key: bytes, value: bytes) -> bytes:
    body = b" %b=%b\n" % (key, value)
    length = next(n for n in range(len(body), len(body) + 9) if n == len(body) + len(str(n)))
    return b"%d%b" % (length, body)


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    return member(b"pax", b"".join(records), kind)


GOOD = member(b"ok.txt", b"fine")


@dataclass
class Case:
    """``parts`` is a tar but for its ``end``; ``message`` is how the refusal begins, empty where none is due."""

    parts: bytes
    message: str = ""
    keys: list[str] = field(default_factory=lambda: ["ok"])
    notes: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    end: bytes = END


def refused(name: str, what: str = OUTSIDE) -> str:
    return f"refused member {name}: {what}"


CASES = {
    # names
    "traversal": Case(member(b"../../etc/cron.d/x"), refused("'../../etc/cron.d/x'")),
    "traversal inside": Case(member(b"a/../../x.jpg"), refused("'a/../../x.jpg'")),
    "traversal at the end": Case(member(b"a/.."), refused("'a/..'")),
    "traversal for Windows": Case(member(b"a\\..\\..\\x.jpg"), refused("'a\\\\..\\\\..\\\\x.jpg'")),
    "traversal in the ustar prefix": Case(
        header(b"x.jpg", rest=b"ustar\x0000".ljust(88, b"\0") + b"../up"), refused("'../up/x.jpg'")
    ),
    "traversal in a GNU long name": Case(member(b"L", b"../x.jpg\0", b"L") + member(b"a.jpg"), refused("'../x.jpg'")),
    "traversal in a pax path": Case(pax(record(b"path", b"../x.jpg")) + member(b"a.jpg"), refused("'../x.jpg'")),
    "absolute": Case(member(b"/etc/passwd"), refused("'/etc/passwd'")),
    "absolute in a pax path": Case(pax(record(b"path", b"/etc/x")) + member(b"a.jpg"), refused("'/etc/x'")),
    "no name": Case(member(b""), refused("''", "it has no name")),
    "no name in a pax path": Case(pax(record(b"path", b"")) + member(b"a"), refused("''", "it has no name")),
    "zero byte in a pax path": Case(
        pax(record(b"path", b"a.jpg\0.exe")) + member(b"a.jpg"),
        refused("'a.jpg\\x00.exe'", "there is a zero byte in its name"),
    ),
    "control characters": Case(member(b"../\x1b[2J\x07\r\n"), refused("'../\\x1b[2J\\x07\\r\\n'")),
    "right to left": Case(member("../\u202egpj.exe".encode()), refused("'../\\u202egpj.exe'")),
    "not UTF-8": Case(member(b"../\xff\xfe.jpg"), refused("'../\\udcff\\udcfe.jpg'")),
    "not UTF-8, harmless": Case(member(b"\xff.jpg") + GOOD, keys=["\udcff", "ok"]),
    "dots that are no traversal": Case(member(b"a..b/c...jpg") + GOOD, keys=["a..b/c", "ok"]),
    "very long": Case(
        member(b"L", b"../" + b"a" * 100_000, b"L") + member(b"a"), refused(f"'../{'a' * 76}…{'a' * 38}'")
    ),
    "very long, harmless": Case(
        pax(record(b"path", b"a" * (MAX_NAME + 1))) + member(b"a"),
        refused(f"'{'a' * 79}…{'a' * 38}'", f"its name has more than {MAX_NAME:,} characters"),
    ),
    # what is no file
    "symbolic link": Case(header(b"a.jpg", kind=b"2") + GOOD, notes={"ignored symbolic link": 1}),
    "hard link": Case(header(b"a.jpg", kind=b"1") + GOOD, notes={"ignored hard link": 1}),
    "devices and a fifo": Case(
        header(b"a", kind=b"3") + header(b"b", kind=b"4") + header(b"c", kind=b"6") + GOOD,
        notes={"ignored device": 2, "ignored fifo": 1},
    ),
    "link out, then a file through it": Case(
        header(b"d", kind=b"2") + member(b"d/x.txt") + GOOD, keys=["d/x", "ok"], notes={"ignored symbolic link": 1}
    ),
    "folders that point outside": Case(
        header(b"../", kind=b"5") + header(b"/tmp/") + GOOD, notes={"ignored directory": 2}
    ),
    "a kind nobody knows": Case(member(b"a", kind=b"\x1b") + GOOD, notes={"ignored member of type '\\x1b'": 1}),
    "GNU sparse": Case(member(b"a.jpg", kind=b"S"), refused("'a.jpg'", "it is stored with holes (GNU sparse)")),
    "pax sparse": Case(
        pax(record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.name", b"b.jpg")) + member(b"a.jpg", b"1\n0\n"),
        refused("'a.jpg'", "it is stored with holes (GNU sparse)"),
    ),
    # sizes
    "gigantic": Case(
        header(b"a.jpg", octal(MAX_MEMBER + 1)), "member 'a.jpg' claims 1,073,741,825 bytes, more than the limit of"
    ),
    "gigantic in base 256": Case(
        header(b"a", b"\x80" + b"\xff" * 11), "member 'a' claims 309,485,009,821,345,068,724,781,055"
    ),
    "negative in base 256": Case(header(b"a", b"\xff" * 12), "a member with a negative size, at byte 0"),
    "negative in octal": Case(header(b"a", b"-0000000001\0"), "a member whose size is not a number, at byte 0"),
    "signed": Case(header(b"a", b"+0000000001\0"), "a member whose size is not a number"),
    "underscored": Case(header(b"a", b"00000000_01\0"), "a member whose size is not a number"),
    "with a prefix": Case(header(b"a", b"0o000000001\0"), "a member whose size is not a number"),
    "not octal": Case(header(b"a", b"00000000009\0"), "a member whose size is not a number"),
    "more than there is": Case(header(b"a.jpg", octal(10_000)), "cut off at byte 1536, inside 'a.jpg'"),
    "of a pax header": Case(
        header(b"x", octal((1 << 20) + 1), b"x"), "member 'header' claims 1,048,577 bytes, more than the limit of"
    ),
    "of a long name": Case(
        header(b"L", octal(1 << 30), b"L"), "member 'header' claims 1,073,741,824 bytes, more than the limit of"
    ),
    "two sizes": Case(
        pax(record(b"size", b"0")) + member(b"a.jpg", GOOD),
        "member 'a.jpg' has different sizes in its pax header and its tar header",
    ),
    "the same size twice": Case(pax(record(b"size", b"4")) + GOOD),
    "pax size that is none": Case(pax(record(b"size", b"-1")) + GOOD, PAX),
    "pax size with a thousand digits": Case(pax(record(b"size", b"1" * 1000)) + GOOD, PAX),
    # pax records
    "a name for all": Case(
        pax(record(b"path", b"x.jpg"), kind=b"g") + GOOD, "a global pax header that sets the name, size or holes"
    ),
    "a name for all, later": Case(
        GOOD + pax(record(b"path", b"x.jpg"), kind=b"g"), "a global pax header that sets the name, size or holes"
    ),
    "record longer than the header": Case(pax(b"99 path=a\n") + GOOD, PAX),
    "record of no length": Case(pax(b"0 path=a\n") + GOOD, PAX),
    "record of negative length": Case(pax(b"-9 path=a\n") + GOOD, PAX),
    "record without a length": Case(pax(b"path=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n") + GOOD, PAX),
    "record without a key": Case(pax(b"5 =a\n") + GOOD, PAX),
    "record without a value": Case(pax(b"7 path\n") + GOOD, PAX),
    "record without its line end": Case(pax(b"9 path=ab") + GOOD, PAX),
    "record that ends in the next": Case(pax(b"8 path=ab\n") + GOOD, PAX),
    "the same key twice, the last counts": Case(
        pax(record(b"path", b"../a"), record(b"path", b"b.txt")) + member(b"a"), keys=["b"]
    ),
    "records for no member": Case(GOOD + pax(record(b"path", b"a")), "a pax header or long name without the member"),
    "two long names": Case(member(b"L", b"../x\0", b"L") + member(b"L", b"y.txt\0", b"L") + member(b"a"), keys=["y"]),
    "half a million records": Case(pax(b"5 a=\n" * 200_000) + GOOD),
    # bombs
    "ten thousand members of a sample": Case(
        b"".join(header(b"a.%d" % number) for number in range(MAX_MEMBERS + 1)),
        f"sample 'a' has more than {MAX_MEMBERS:,} members or 2 GiB",
    ),
    "a member twice": Case(
        member(b"a.jpg") + member(b"a.jpg", b"2") + GOOD, keys=["a", "ok"], dropped={"duplicate key": 1}
    ),
    "empty members": Case(member(b"a.jpg", b"") + member(b"a.json", b"") + GOOD, keys=["a", "ok"]),
    # what pretends to be a tar
    "zip": Case(b"PK\x03\x04" + b"z" * 2000, NO_TAR),
    "text": Case(b"hello world\n" * 100, NO_TAR),
    "checksum field of blanks": Case(b"a".ljust(148, b"\0") + b" " * 8 + bytes(356), NO_TAR),
    "checksum with a sign": Case(GOOD[:148] + b"+" + GOOD[149:], NO_TAR),
    "a lone zero block": Case(GOOD + bytes(BLOCK) + GOOD, "a lone zero block where the end marker should be"),
    "bytes behind the end": Case(GOOD + END + b"#!/bin/sh", "bytes after the end marker that are not a tar", end=b""),
    "a damaged tar behind the end": Case(GOOD + END + b"#" * BLOCK, "not a tar, or a damaged one", end=b""),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_hostile(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("x.tar").write_bytes(case.parts + case.end)
    outcome = []
    settings = Settings(quiet=True, energy=False, out="out")
    code = guarded(lambda: outcome.append(engine.run(parse_plan("split --fraction 0"), ["x.tar"], settings, None)))
    said = capsys.readouterr().err
    if case.message:
        assert code == 1, said
        assert said.startswith(f"capivara: x.tar: {case.message}"), said
        assert all(char.isprintable() or char == "\n" for char in said)
        assert len(said) < 500
        assert not list(Path("out").glob("*.tar"))
    else:
        assert code == 0, said
        summary = outcome[0].summary()
        assert (summary["notes"], summary["dropped"]) == (case.notes, case.dropped)
        assert summary["read"] == summary["written"] + sum(case.dropped.values())
        with open("out/x.tar", "rb") as stream:
            assert [sample.key for sample in ShardReader(stream, "x")] == case.keys
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]
    assert {path.name for path in Path().iterdir()} <= {"x.tar", "out"}
    assert {path.name for path in Path("out").iterdir()} <= {"x.tar", "manifest.jsonl"}


def test_a_refusal_through_the_program(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(member("../\u202e\x1b[31m.jpg".encode()) + END)
    words = [sys.executable, "-m", "capivara_cli", "split", "x.tar", "--fraction", "0"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 1
    assert result.stderr == (
        "capivara: x.tar: refused member '../\\u202e\\x1b[31m.jpg': it points outside the archive\n"
        "  make the tar again with plain relative names\n"
    )


def test_a_pickle_is_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    data = pickle.dumps(Harm())
    names = (b"a.pyd", b"a.pickle", b"a.pkl", b"a.pt", b"a.clip.npy", b"a.jpg", b"a.json")
    (tmp_path / "x.tar").write_bytes(b"".join(member(name, data) for name in names) + END)
    settings = Settings(quiet=True, energy=False, out=str(tmp_path / "out"))
    for plan in ("split --fraction 0", "dedupe", "filter --model toy"):
        code = guarded(lambda plan=plan: engine.run(parse_plan(plan), [str(tmp_path / "x.tar")], settings, None))
        assert code in (0, 1)
    assert not (tmp_path / "harm").exists()


def test_names_are_escaped_in_html() -> None:
    name = "<img src=x onerror=alert(1)>\x1b\u0000\udcff.jpg"
    page = html_page([PageSection(name, [], [])])
    assert "<h1>&lt;img src=x onerror=alert(1)&gt;\ufffd\ufffd\ufffd.jpg</h1>" in page


def test_a_gzip_bomb_is_read_as_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        for number in range(64):
            out.write(header(b"%d.txt" % number, octal(1 << 20)))
            out.write(bytes(1 << 20))
        out.write(END)
    assert path.stat().st_size < 400_000
    tracemalloc.start()
    with archive.open_shard(str(path)) as reader:
        assert sum(len(sample.members["txt"]) for sample in reader) == 64 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_claim_without_bytes_costs_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TruncatedInput, match=r"inside 'a\.jpg'"):
        list(TarReader(io.BytesIO(header(b"a.jpg", octal(MAX_MEMBER)) + b"x" * 100), "x.tar"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_a_sample_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_SAMPLE", 1000)
    assert len(list(ShardReader(io.BytesIO(member(b"a.jpg", b"x" * 1000) + END), "x"))) == 1
    with pytest.raises(CapivaraError, match="sample 'a' has more than"):
        list(ShardReader(io.BytesIO(member(b"a.jpg", b"x" * 999) + member(b"a.txt", b"xx") + END), "x"))


def small_tars() -> dict[str, bytes]:
    """One sample each, in every way a header can be: ours, with a pax name, with a GNU long name, with a prefix."""
    found = {}
    for name, key in (("ours", "a"), ("pax name", "n" * 120)):
        out = io.BytesIO()
        writer = TarWriter(out, '{"capivara": []}')
        writer.add(f"{key}.jpg", b"x" * 10)
        writer.finish()
        found[name] = out.getvalue()
    found["GNU long name"] = member(b"././@LongLink", b"n" * 120 + b".jpg\0", b"L") + member(b"n" * 100) + END
    info = tarfile.TarInfo("folder/" * 16 + "a.jpg")
    found["prefix"] = info.tobuf(tarfile.USTAR_FORMAT) + END
    found["old GNU magic"] = tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT) + END
    found["before POSIX"] = header(b"a.jpg", rest=b"") + END
    return found


def headers_of(data: bytes) -> list[int]:
    """Where the headers of a small tar are."""
    places, place = [], 0
    while data[place : place + BLOCK].count(0) < BLOCK:
        places.append(place)
        place += BLOCK + len(blocks(bytes(int(data[place + 124 : place + 135], 8))))
    return places


def outcome_of(data: bytes) -> tuple[str, object]:
    try:
        reader = TarReader(io.BytesIO(data), "x.tar")
        return "read", (reader.comment, list(reader), dict(reader.ignored))
    except CapivaraError as error:
        return "refused", error.message


@pytest.mark.parametrize("name", small_tars())
def test_every_flipped_bit_of_a_header_is_refused_or_changes_nothing(name: str) -> None:
    """All 4,096 bits of each header. The accepted ones are other spellings of the same checksum.

    A leading zero of it may be a blank, its zero byte a blank and its blank a zero byte: 1 + 1 bits where it ends, and
    one for each leading zero. Every other bit is under the checksum, those of the padding too.
    """
    data = small_tars()[name]
    clean = outcome_of(data)
    assert clean[0] == "read"
    for start in headers_of(data):
        field = data[start + 148 : start + 156]
        accepted = []
        for bit in range(BLOCK * 8):
            flipped = bytearray(data)
            flipped[start + bit // 8] ^= 1 << bit % 8
            outcome = outcome_of(bytes(flipped))
            if outcome[0] == "read":
                assert outcome == clean
                accepted.append((bit // 8, bit % 8))
        leading = len(field) - len(field.lstrip(b"0"))
        assert {place for place, _ in accepted} <= {*range(148, 148 + leading), 154, 155}, accepted
        assert {bit for place, bit in accepted if place < 154} <= {4}


@pytest.mark.parametrize("name", small_tars())
def test_every_proper_prefix_is_refused(name: str) -> None:
    data = small_tars()[name]
    for length in range(len(data)):
        with pytest.raises(TruncatedInput):
            list(TarReader(io.BytesIO(data[:length]), "x.tar"))


def test_padding_of_contents_may_hold_anything_and_is_not_passed_on() -> None:
    data = header(b"a.txt", octal(1)) + b"1" + b"#" * (BLOCK - 1) + END
    assert outcome_of(data) == ("read", ("", [("a.txt", b"1")], {}))
