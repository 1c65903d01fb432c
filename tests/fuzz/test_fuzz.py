"""The fuzzer's corpus as regression tests, and its targets under hypothesis."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from fuzz import targets
from hypothesis import given, settings
from hypothesis import strategies as st
from support import variants

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.shards.tar import BLOCK, TarReader, TarWriter

HERE = Path(__file__).parent

FOUND = sorted(path for path in (HERE / "corpus").glob("*/*"))


@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}-{path.name[:12]}" for path in FOUND])
def test_the_corpus(path: Path) -> None:
    targets.TARGETS[path.parent.name](path.read_bytes())


def test_the_corpus_is_small() -> None:
    assert {path.parent.name for path in FOUND} == set(targets.TARGETS)
    assert sum(path.stat().st_size for path in FOUND) < 200_000


@settings(max_examples=variants.number(50, 150), deadline=None)
@given(st.binary(max_size=1600))
def test_any_bytes_as_a_tar(data: bytes) -> None:
    targets.tar(data)
    targets.tar(targets.mended(data))


FIELDS = st.sampled_from(
    [
        b"a.jpg",
        b"a.json",
        b"../x",
        b"/",
        b"",
        b"\xff",
        b"ustar\0",
        b"ustar  \0",
        b"00000000005\0",
        b"\x80",
        b"\xff" * 12,
    ]
)
RECORDS = st.sampled_from([b"12 path=b.c\n", b"9 size=5\n", b"13 path=../x\n", b"22 GNU.sparse.major=1\n", b"7 =\n"])
KINDS = st.sampled_from([b"0", b"\0", b"7", b"x", b"g", b"L", b"K", b"1", b"2", b"5", b"S", b"X", b"V"])


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """Headers with fields that mean something, bodies that do or do not fit them."""
    parts = []
    for _ in range(draw(st.integers(0, 5))):
        header = bytearray(BLOCK)
        body = b"".join(draw(st.lists(RECORDS, max_size=3))) or draw(st.binary(max_size=600))
        size = draw(st.sampled_from([b"%011o\0" % len(body), b"%011o\0" % 5, b"\x80" + bytes(10) + b"\x05"]))
        for place, value in (
            (0, draw(FIELDS)),
            (124, size),
            (156, draw(KINDS)),
            (257, draw(FIELDS)),
            (345, draw(FIELDS)),
        ):
            header[place : place + len(value)] = value
        parts.append(bytes(header[:BLOCK]) + body + bytes(-len(body) % BLOCK))
    return targets.mended(b"".join(parts))


@settings(max_examples=variants.number(83, 250), deadline=None)
@given(tars())
def test_headers_that_almost_make_sense(data: bytes) -> None:
    targets.tar(data)


@settings(max_examples=variants.number(33, 100), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="./\\\0", exclude_categories=["Cs"]), min_size=1, max_size=200),
            st.binary(max_size=1200),
        ),
        max_size=5,
    ),
    st.data(),
)
def test_one_changed_byte_never_adds_or_hides_a_member_unseen(
    entries: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    """Any one byte changed anywhere: refused, or the same number of members with contents of the same sizes."""
    out = io.BytesIO()
    writer = TarWriter(out, "{}")
    for name, contents in entries:
        writer.add(name, contents)
    writer.finish()
    changed = bytearray(out.getvalue())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = list(TarReader(io.BytesIO(bytes(changed)), "x"))
    except CapivaraError:
        return
    assert [len(contents) for _, contents in found] == [len(contents) for _, contents in entries]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(max_size=9) | JSON, "lang": st.text(max_size=3) | JSON, "by": JSON,
        "of": st.none() | st.text() | JSON,
        "score": st.none() | st.floats() | JSON, "prefix": st.text(max_size=5) | JSON, "mine": JSON,
    },
)  # fmt: skip
DOCUMENTS = JSON | st.fixed_dictionaries({}, optional={"captions": st.lists(ENTRIES, max_size=3) | JSON, "id": JSON})


@settings(max_examples=variants.number(50, 150), deadline=None)
@given(DOCUMENTS)
def test_any_document(document: object) -> None:
    targets.document(json.dumps(document).encode())


@settings(max_examples=variants.number(33, 100), deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_as_json(data: bytes) -> None:
    targets.document(data)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('{"text": "a", "score": NaN}', "score"),
        ('{"text": "a", "score": Infinity}', "score"),
        ('{"text": "a", "score": 1e999}', "score"),
        ('{"text": "a", "score": true}', "score"),
        ('{"text": "a", "score": 1' + "0" * 400 + "}", "score"),
        ('{"text": "a", "score": 1' + "0" * 5000 + "}", "json cannot be parsed"),
        ('{"text": "a", "of": 1}', "of"),
        ('{"text": 1}', "is not a list of"),
        ("[" * 100_000, "json cannot be parsed"),
        ('{"text": "a", "x": ' + "[" * 250 + "]" * 250 + "}", "json is nested too deeply"),
        ('{"text": "\\ud8"}', "json cannot be parsed"),
        ("\x00", "json cannot be parsed"),
    ],
)
def test_captions_that_are_none(entry: str, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        _ = Sample("k", {"json": f'{{"captions": [{entry}]}}'.encode()}).captions


def test_what_was_remembered_cannot_be_changed() -> None:
    sample = Sample(
        "k", {"json": b'{"captions": [{"text": "a", "lang": "en", "by": "alt", "of": null, "score": null}]}'}
    )
    sample.captions.clear()
    assert sample.captions == [Caption("a", "en", "alt")]
