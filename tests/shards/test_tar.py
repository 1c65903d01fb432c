"""The tar layer: strict when reading, reproducible when writing, readable by other programs."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import os
import subprocess
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import variants

from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.shards import tar as tar_module
from capivara_cli.shards.archive import ShardReader, ShardWriter, open_shard, split_name
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.tar import BLOCK, MAX_MEMBER, TarReader, TarWriter


def archive(*members: tuple[str, bytes], comment: str = "{}") -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out, comment)
    for name, data in members:
        writer.add(name, data)
    writer.finish()
    return out.getvalue()


def members(data: bytes) -> list[tuple[str, bytes]]:
    return list(TarReader(io.BytesIO(data), "x.tar"))


def python_tar(format: int, *entries: tuple[str, bytes], **attributes: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_golden_bytes() -> None:
    import hashlib

    data = archive(("a.jpg", b"x" * 600), ("a.json", b"{}"), comment="hello")
    assert len(data) == 512 * 2 + 512 * 3 + 512 * 2 + 1024
    assert data[-1024:] == bytes(1024)
    assert hashlib.sha256(data).hexdigest() == "4b33d6cd62ff373c284e4a267788100d3069e38d17bcff3e3090365b83560888"


def plain_header(name: bytes, size: int) -> bytes:
    """A header built field by field from the standard."""
    fields = [
        name.ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size, b"00000000000\0",
        b" " * 8, b"0", bytes(100), b"ustar\0", b"00", bytes(247),
    ]  # fmt: skip
    fields[6] = b"%06o\0 " % sum(b"".join(fields))
    return b"".join(fields)


@given(st.binary(min_size=1, max_size=100).filter(lambda name: b"\0" not in name), st.integers(0, MAX_MEMBER))
def test_headers_are_the_standards_byte_for_byte(name: bytes, size: int) -> None:
    class Sized(bytes):
        def __len__(self) -> int:
            return size

    out = io.BytesIO()
    writer = TarWriter(out, "")
    writer.add(name.decode("utf-8", "surrogateescape"), Sized())
    writer.finish()
    assert out.getvalue()[1024 : 1024 + BLOCK] == plain_header(name, size)


def test_a_file_a_pipe_and_memory_get_the_same_bytes(tmp_path: Path) -> None:
    contents = [(f"{number:04d}.bin", bytes([number % 256]) * (number * 37 % 5000)) for number in range(1500)]
    contents.append(("large.bin", b"x" * 3_000_000))
    expected = archive(*contents)
    with open(tmp_path / "x.tar", "wb") as out:
        writer = TarWriter(out, "{}")
        for name, data in contents:
            writer.add(name, data)
        writer.finish()
        assert out.tell() == len(expected)
    assert (tmp_path / "x.tar").read_bytes() == expected
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=open(tmp_path / "y.tar", "wb")) as cat:
        writer = TarWriter(cast(BinaryIO, cat.stdin), "{}")
        for name, data in contents:
            writer.add(name, data)
        writer.finish()
    assert (tmp_path / "y.tar").read_bytes() == expected
    assert members(expected) == contents


def test_a_partial_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def half(descriptor: int, parts: list[bytes]) -> int:
        taken.append(os.write(descriptor, b"".join(parts)[:700]))
        return taken[-1]

    monkeypatch.setattr(os, "writev", half)
    contents = [(f"{number}.bin", bytes([number]) * 150_000) for number in range(9)]
    with open(tmp_path / "x.tar", "wb") as out:
        writer = TarWriter(out, "{}")
        for name, data in contents:
            writer.add(name, data)
        writer.finish()
    assert taken == [700] * 3
    assert (tmp_path / "x.tar").read_bytes() == archive(*contents)


def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(OSError, match="No space left") as caught, open("/dev/full", "wb", buffering=1 << 20) as out:
        writer = TarWriter(out, "{}")
        writer.add("a.bin", b"x" * 2_000_000)
    assert caught.value.errno == errno.ENOSPC


def test_no_bytes_are_read_ahead() -> None:
    stream = io.BytesIO(archive(("a.bin", b"1" * 700), ("b.bin", b"2"), comment="") + b"tail")
    places = [stream.tell() for _ in itertools.islice(TarReader(stream, "x"), 2)]
    assert places == [1024 + 512 + 1024, 1024 + 512 + 1024 + 1024]


def test_sums_of_headers_with_few_zeros_are_exact() -> None:
    """Adler's sum is modulo 65521, so a larger sum must be computed in another way."""
    block = bytearray(b"\xff" * BLOCK)
    block[124:136] = b"00000000000\0"
    block[156:157] = b"0"
    block[257:263] = b"nothin"
    for pretended, accepted in ((0, True), (65521, False)):
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % (sum(block) - pretended)
        data = bytes(block) + bytes(1024)
        if accepted:
            assert len(members(data)) == 1
        else:
            with pytest.raises(CapivaraError, match="checksum"):
                members(data)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_every_format(format: int) -> None:
    long = "folder/" * 12 + "name.txt"
    entries = [("a.jpg", b"1" * 513), (long, b"2"), ("empty.txt", b"")]
    assert members(python_tar(format, *entries)) == entries


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_names_too_long_for_ustar(format: int) -> None:
    entries = [("d/" * 150 + "ação.txt", b"2")]
    assert members(python_tar(format, *entries)) == entries


def test_reads_pax_headers_with_fractional_mtime_as_webdataset_writes_them() -> None:
    data = python_tar(tarfile.PAX_FORMAT, ("a.jpg", b"1"), mtime=1700000000.25)
    assert b"mtime=1700000000.25" in data
    assert members(data) == [("a.jpg", b"1")]


def test_reads_base_256_sizes() -> None:
    data = bytearray(python_tar(tarfile.USTAR_FORMAT, ("a.bin", b"12345")))
    data[124:136] = b"\x80" + (5).to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert members(bytes(data)) == [("a.bin", b"12345")]


def test_long_names_survive_and_gnu_tar_lists_them(tmp_path: Path) -> None:
    names = ["a" * 100, "b" * 101, "ф" * 90 + ".txt", "deep/" * 40 + "x.json"]
    path = tmp_path / "x.tar"
    path.write_bytes(archive(*[(name, b"1") for name in names]))
    assert [name for name, _ in members(path.read_bytes())] == names
    listed = subprocess.run(["tar", "tf", path, "--quoting-style=literal"], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines() == names
    assert listed.stderr == ""
    with tarfile.open(path) as tar:
        assert tar.getnames() == names


def test_no_proper_prefix_is_accepted() -> None:
    data = archive(("a.jpg", b"x" * 700), ("a.json", b"{}"), ("n" * 130, b"y"))
    for length in range(len(data)):
        with pytest.raises(TruncatedInput):
            members(data[:length])
    assert len(members(data)) == 3


def test_a_flipped_header_byte_is_refused() -> None:
    data = archive(("a.jpg", b"x" * 10))
    start = 1024
    for offset in (0, 3, 100, 124, 130, 150, 156, 257, 345, 511):
        broken = bytearray(data)
        broken[start + offset] ^= 0x04
        with pytest.raises(CapivaraError):
            members(bytes(broken))


def test_several_tars_on_one_stream() -> None:
    one, two = archive(("a.txt", b"1")), python_tar(tarfile.GNU_FORMAT, ("b.txt", b"2"))
    assert members(one + two + one) == [("a.txt", b"1"), ("b.txt", b"2"), ("a.txt", b"1")]
    with pytest.raises(TruncatedInput):
        members(one + two[:700])


def test_garbage_is_refused() -> None:
    with pytest.raises(CapivaraError, match="not a tar"):
        members(b"PK\x03\x04" + b"z" * 2000)
    with pytest.raises(TruncatedInput, match="empty"):
        members(b"")
    with pytest.raises(CapivaraError, match="not a tar"):
        members(archive(("a", b"1")) + b"tail")


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.jpg", "a/../../b.jpg"])
def test_names_that_point_outside_are_refused(name: str) -> None:
    with pytest.raises(CapivaraError, match="outside the archive"):
        members(archive((name, b"1")))


def test_links_devices_and_folders_are_ignored_and_counted() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind in (
            ("d", tarfile.DIRTYPE),
            ("l", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("c", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd"
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("a.txt"))
    reader = TarReader(io.BytesIO(out.getvalue()), "x.tar")
    assert list(reader) == [("a.txt", b"")]
    assert dict(reader.ignored) == {"directory": 1, "symbolic link": 1, "hard link": 1, "device": 1}


def test_a_member_that_claims_too_many_bytes_is_refused_before_it_is_read() -> None:
    info = tarfile.TarInfo("big.bin")
    info.size = MAX_MEMBER + 1
    with pytest.raises(CapivaraError, match="more than the limit"):
        members(info.tobuf(tarfile.GNU_FORMAT))


def test_negative_size_is_refused() -> None:
    data = bytearray(python_tar(tarfile.USTAR_FORMAT, ("a.bin", b"1")))
    data[124:136] = b"\xff" * 12
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(CapivaraError, match="negative"):
        members(bytes(data))


@settings(max_examples=variants.number(20, 60), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="./\0", exclude_categories=["Cs"]), min_size=1, max_size=80),
            st.dictionaries(
                st.sampled_from(["jpg", "json", "txt", "clip.npy", "ção"]), st.binary(max_size=1500), min_size=1
            ),
        ),
        unique_by=lambda pair: pair[0],
        max_size=6,
    )
)
def test_a_written_shard_is_read_back(contents: list[tuple[str, dict[str, bytes]]]) -> None:
    out = io.BytesIO()
    writer = ShardWriter(out, [{"step": "x"}])
    written = [Sample(key, found) for key, found in contents]
    for sample in written:
        writer.write(sample)
    writer.finish()
    reader = ShardReader(io.BytesIO(out.getvalue()), "x")
    read = list(reader)
    assert read == written
    assert [list(sample.members) for sample in read] == [list(sample.members) for sample in written]
    assert reader.history == [{"step": "x"}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a", "jpg")),
        ("dir.v1/a.b.txt", ("dir.v1/a", "b.txt")),
        ("README", ("README", "")),
        ("d/.hidden", ("d/.hidden", "")),
        ("Ä.JPG", ("Ä", "JPG")),
    ],
)
def test_keys_end_at_the_first_dot(name: str, expected: tuple[str, str]) -> None:
    assert split_name(name) == expected


def test_a_doubled_member_is_counted_and_the_first_kept() -> None:
    data = archive(("a.jpg", b"1"), ("a.json", b"{}"), ("a.jpg", b"2"), ("a.json", b"[]"), ("b.jpg", b"3"))
    reader = ShardReader(io.BytesIO(data), "x")
    assert list(reader) == [Sample("a", {"jpg": b"1", "json": b"{}"}), Sample("b", {"jpg": b"3"})]
    assert reader.duplicates == 1


def test_gzip_is_decompressed_and_truncated_gzip_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(archive(("a.jpg", b"1" * 5000)))
    (tmp_path / "a.tar.gz").write_bytes(packed)
    with open_shard(str(tmp_path / "a.tar.gz")) as reader:
        assert [sample.key for sample in reader] == ["a"]
    (tmp_path / "b.tar.gz").write_bytes(packed[:-20])
    with pytest.raises(TruncatedInput), open_shard(str(tmp_path / "b.tar.gz")) as reader:
        list(reader)


def test_names_that_only_look_like_the_same_sample() -> None:
    names = ["a.jpg", "a.d/x.jpg", "a.json", ".h", ".h.x", "b", "b.txt", "b.", "c/.h", "c/.h.y", "d.x", "dd.x", "d.y"]
    read = ShardReader(io.BytesIO(archive(*[(name, b"") for name in names])), "x")
    assert [(sample.key, list(sample.members)) for sample in read] == [
        ("a", ["jpg"]), ("a.d/x", ["jpg"]), ("a", ["json"]), (".h", [""]), (".h.x", [""]), ("b", ["", "txt"]),
        ("c/.h", [""]), ("c/.h.y", [""]), ("d", ["x"]), ("dd", ["x"]), ("d", ["y"]),
    ]  # fmt: skip
    assert read.duplicates == 1  # "b." has no suffix, as "b"


@pytest.mark.parametrize("step", [1, 7, 511, 513])
def test_a_stream_that_returns_few_bytes_at_a_time(step: int) -> None:
    class Piecemeal(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(step, size or 0))

    contents = [("a.jpg", b"x" * 1300), ("n" * 150, b"y")]
    data = archive(*contents)
    assert list(TarReader(Piecemeal(data), "x")) == contents
    with pytest.raises(TruncatedInput, match=r"x: cut off at byte 3000, inside 'a\.jpg'"):
        list(TarReader(Piecemeal(archive(("a.jpg", b"x" * 5000))[:3000]), "x"))


@pytest.mark.parametrize("around", [10, 100, 1000])
def test_the_length_of_a_pax_record_has_one_digit_more(around: int) -> None:
    """The length counts its own digits: beside 99 and 999 one digit more makes the record longer."""
    for size in range(max(1, around - 25), around + 5):
        record = tar_module._pax_record(b"comment", b"x" * size)
        digits, _, rest = record.partition(b" ")
        assert (int(digits), rest) == (len(record), b"comment=" + b"x" * size + b"\n")
    names = [f"{'n' * size}.txt" for size in range(around - 25, around + 5) if size > 0]
    data = archive(*[(name, b"x") for name in names], comment="c" * around)
    assert [name for name, _ in members(data)] == names
    with tarfile.open(fileobj=io.BytesIO(data)) as theirs:
        assert theirs.getnames() == names
        assert theirs.pax_headers["comment"] == "c" * around


@pytest.mark.parametrize(("length", "blocks"), [(99, 2), (100, 2), (101, 4)])
def test_a_name_of_a_hundred_bytes_needs_no_pax_header(length: int, blocks: int) -> None:
    data, empty = archive(("n" * length, b"x")), archive()
    assert (len(data) - len(empty)) // BLOCK == blocks
    assert members(data) == [("n" * length, b"x")]


def test_a_member_over_the_limit_is_refused_by_its_header() -> None:
    for size, message in ((MAX_MEMBER, "cut off"), (MAX_MEMBER + 1, "more than the limit")):
        info = tarfile.TarInfo("a.jpg")
        info.size = size
        with pytest.raises(CapivaraError, match=message):
            members(info.tobuf(tarfile.USTAR_FORMAT) + b"x")
