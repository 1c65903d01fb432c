"""What must hold for any bytes: the targets of hypothesis and of the coverage-guided fuzzer."""

from __future__ import annotations

import io
import json

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.shards.archive import ShardReader, ShardWriter
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.shards.tar import BLOCK, END, TarReader


class Piecemeal(io.BytesIO):
    """A stream that gives at most ``step`` bytes at a time, as one over a network may."""

    step = 197

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(self.step, size if size is not None and size >= 0 else self.step))


def tar(data: bytes) -> None:
    """A stream is read, or refused with a message. Writing and reading it again gives the same samples."""
    found = _samples(io.BytesIO(data))
    assert found == _samples(Piecemeal(data)), "it matters how the bytes arrive"
    if isinstance(found, str):
        assert found.startswith("fuzz.tar: ") and found.isprintable() and len(found) < 400, found
        return
    samples, _ = found
    once = _written(samples)
    again = _samples(io.BytesIO(once))
    assert isinstance(again, tuple), again
    # A key that comes twice in a row is one sample when it is read again, its repeated members are kept out.
    assert [name for name, _ in TarReader(io.BytesIO(once), "x")] == [
        f"{sample.key}.{suffix}" if suffix else sample.key for sample in samples for suffix in sample.members
    ]
    assert _written(again[0]) == once or again[1], "written, read and written again is not the same"


def _samples(stream: io.BytesIO) -> tuple[list[Sample], int] | str:
    """The samples and how many of them repeat a member, or the message of a refusal."""
    try:
        reader = ShardReader(stream, "fuzz.tar")
        return list(reader), reader.duplicates
    except CapivaraError as error:
        return error.message


def _written(samples: list[Sample]) -> bytes:
    out = io.BytesIO()
    writer = ShardWriter(out, [])
    for sample in samples:
        writer.write(sample)
    writer.finish()
    return out.getvalue()


def document(data: bytes) -> None:
    """Any bytes as a json member give captions or a reason. Writing and reading captions again gives the same."""
    sample = Sample("k", {"json": data})
    try:
        parsed = sample.document
        captions = sample.captions
    except BadSample as error:
        assert error.reason.isprintable() and len(error.reason) < 100, error.reason
        return
    assert sample.with_captions(captions) is sample
    assert captions == [Caption.from_json(entry) for entry in parsed.get("captions", [])]
    added = Caption("uma frase", "pt", "fuzz", of="a sentence", score=0.25)
    more = sample.with_captions([*captions, added])
    assert more.captions == [*captions, added]
    rest = {key: value for key, value in parsed.items() if key != "captions"}
    assert encode_json({key: value for key, value in more.document.items() if key != "captions"}) == encode_json(rest)
    assert more.with_captions(more.captions) is more
    json.loads(encode_json(more.document).decode())


def mended(data: bytes) -> bytes:
    """The same bytes with the checksums of all headers set right, and an end: they get past the first check."""
    blocks = bytearray(data)
    blocks += bytes(-len(blocks) % BLOCK)
    place = 0
    while place < len(blocks):
        header = blocks[place : place + BLOCK]
        if header.count(0) < BLOCK:
            header[148:156] = b" " * 8
            blocks[place + 148 : place + 156] = b"%06o\0 " % sum(header)
            digits = bytes(header[124:136]).strip(b" \0")
            size = int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else 0
            place += -(-size // BLOCK) * BLOCK
        place += BLOCK
    return bytes(blocks) + END


TARGETS = {"tar": tar, "json": document}
