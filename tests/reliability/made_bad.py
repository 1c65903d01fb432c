"""Damaged inputs of every kind, made in a folder: each function is named after what is in it."""

from __future__ import annotations

import functools
import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.damage import flipped
from support.foreign import foreign_tar
from support.made import a_sample, jpeg, shard_bytes, toy_like

from capivara_cli.shards.sample import Caption, Sample

Make = Callable[[Path], None]


@functools.cache
def good(count: int = 4) -> bytes:
    """A shard of samples with two English captions and a Portuguese one."""
    return shard_bytes([_bilingual(sample) for sample in toy_like(count)])


def _bilingual(sample: Sample) -> Sample:
    pt = Caption(f"um quadrado {sample.key}", "pt", "toy:en-pt", sample.captions[0].text)
    return sample.with_captions([*sample.captions, pt])


def file(name: str, data: bytes | str) -> Make:
    """A file with these bytes."""

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    return make


def empty_folder(name: str) -> Make:
    return lambda folder: (folder / name).mkdir(parents=True)


def shards(folder: Path) -> None:
    """``shards/``: two good shards of four samples."""
    (folder / "shards").mkdir(exist_ok=True)
    (folder / "shards" / "00000.tar").write_bytes(good())
    (folder / "shards" / "00001.tar").write_bytes(shard_bytes([_bilingual(each) for each in toy_like(4, 4)]))


def good_tar(folder: Path) -> None:
    (folder / "good.tar").write_bytes(good())


def tar_of(*samples: Sample, name: str = "bad.tar") -> Make:
    """A shard of a good sample, these, and another good one."""
    first, last = (_bilingual(each) for each in toy_like(2))
    return file(name, shard_bytes([first, *samples, last]))


def foreign(*members: tuple[str, bytes]) -> Make:
    """``raw.tar`` with these members, as another program writes it."""
    return file("raw.tar", foreign_tar(members))


def with_json(document: Any, name: str = "bad.tar") -> Make:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return tar_of(Sample("bad", {"jpg": jpeg(), "json": data}), name=name)


def with_image(data: bytes, suffix: str = "jpg", name: str = "bad.tar") -> Make:
    sample = a_sample("bad", Caption("a red square", "en", "alt"))
    members = {suffix: data, "json": sample.members["json"]}
    return tar_of(Sample("bad", members), name=name)


def picture(mode: str = "RGB", form: str = "JPEG", size: tuple[int, int] = (64, 48), **how: Any) -> bytes:
    """An encoded image."""
    from PIL import Image

    out = io.BytesIO()
    Image.new(mode, size, 0).save(out, form, **how)
    return out.getvalue()


def animation() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    frames = [Image.new("P", (32, 32), number) for number in range(3)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header announces a size that its few bytes do not have: a decompression bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def doubled_keys(folder: Path) -> None:
    """``bad.tar``: two samples one after the other under the same key."""
    one, two = (_bilingual(each) for each in toy_like(2))
    (folder / "bad.tar").write_bytes(shard_bytes([one, Sample(one.key, two.members), two]))


def unfinished(folder: Path) -> None:
    """``half/``: a folder that a stage has begun and not finished."""
    shards(folder)
    shutil.move(folder / "shards", folder / "half")
    plan = [{"step": "caption", "options": {"n": 3}, "seed": 0}]
    head = {"plan": plan, "fingerprint": "sha256:1", "shards": 3}
    done = [{"shard": f"{number:05d}.tar", "input": {}, "read": 4, "written": 4, "dropped": {}} for number in range(2)]
    lines = "".join(json.dumps(line) + "\n" for line in [head, *done])
    (folder / "half" / "manifest.jsonl").write_text(lines)


def also(*makes: Make) -> Make:
    """Several of them in one folder."""

    def make(folder: Path) -> None:
        for each in makes:
            each(folder)

    return make


def linked(folder: Path) -> None:
    """``bad.tar``: a sample, a symbolic link and a folder, written by tarfile."""
    import tarfile

    with tarfile.open(folder / "bad.tar", "w", format=tarfile.USTAR_FORMAT) as out:
        for name, kind in (("photos", tarfile.DIRTYPE), ("photos/a.jpg", tarfile.REGTYPE), ("b.jpg", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, data = kind, jpeg() if kind == tarfile.REGTYPE else b""
            member.size = len(data)
            member.linkname = "/etc/passwd" if kind == tarfile.SYMTYPE else ""
            out.addfile(member, io.BytesIO(data))


@functools.cache
def _trained() -> Path:
    """A folder with ``shards/`` and a run of two steps, ``runs/pt``, trained and evaluated once."""
    import tempfile

    from reliability.running import run

    folder = Path(tempfile.mkdtemp(prefix="capivara-reliability-")) / "trained"
    folder.mkdir()
    shards(folder)
    train = "train shards --lang pt --model toy --steps 2 --batch-size 4 --warmup 0 --name pt --quiet"
    for line in (train, "eval shards runs/pt --model toy --quiet"):
        ran = run(line.split(), folder)
        if ran.code:
            raise RuntimeError(ran.said)
    shutil.rmtree(folder / "runs" / ".features")
    return folder


def a_run(folder: Path) -> None:
    """``shards/`` and a run that is finished and evaluated, ``runs/pt``."""
    shutil.copytree(_trained(), folder, dirs_exist_ok=True)


def edited(name: str, change: Callable[[Any], Any]) -> Make:
    """A JSON file of the run with something changed."""

    def make(folder: Path) -> None:
        document = json.loads((folder / name).read_bytes())
        document.pop("checksum", None)  # as a person does who edits the file on purpose
        change(document)
        (folder / name).write_text(json.dumps(document))

    return make


def cut(name: str, by: int = 100) -> Make:
    """A file with its last bytes gone."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by]) and None


def altered(name: str) -> Make:
    """A file with one bit that is another, of the same size."""
    return lambda folder: (folder / name).write_bytes(flipped((folder / name).read_bytes())) and None


def without(name: str) -> Make:
    """A file or folder that is gone."""

    def make(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


def after(line: str) -> Make:
    """What a command line leaves, from ``shards/``."""

    def make(folder: Path) -> None:
        from reliability.running import run

        shards(folder)
        ran = run(line.split(), folder)
        if ran.code:
            raise RuntimeError(ran.said)

    return make
