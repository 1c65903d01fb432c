"""Tiny copies of the eval sets with captions, and what the tests ask of them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from capivara_cli import registry
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.evalset import EvalSet
from capivara_cli.evaluation.sets import fm30k, multi30k
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings

GERMAN = ["Ein Hund", "Could not translate", "?", "Ein Hund", "dfgdfg", "Wer ist das?"]
XM = [
    {"image/key": "a1", "en": {"caption": ["One.", "Two. "]}, "fil": {"caption": ["Isa"]}},
    {"image/key": "b2", "en": {"caption": ["Three."]}, "quz": {"caption": ["Huk"]}},
]


def load(spec: str, data: object = "", lang: str = "en", split: str = "test") -> EvalSet:
    env = Env(Settings(device="cpu"), "eval")
    return registry.load("evalsets", spec, lang=lang, data=str(data), split=split, env=env)


def said(found: EvalSet) -> list[tuple[str, list[str]]]:
    """(key, captions) of every sample, all in the set's language."""
    samples = list(found.samples)
    assert {caption.lang for each in samples for caption in each.captions} <= {found.lang}
    return [(each.key, [caption.text for caption in each.captions]) for each in samples]


def images(found: EvalSet) -> list[bytes | None]:
    return [each.members.get("jpg") for each in found.samples]


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def packed(path: Path, *lines: str) -> Path:
    return put(path, gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def refused(match: str, *args: object, **options: str) -> str:
    """The hint of the error that ``load`` raises."""
    with pytest.raises(CapivaraError, match=match) as caught:
        load(*args, **options)  # type: ignore[arg-type]
    return caught.value.hint


def write_zip(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def write_tar(path: Path, **members: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def xtd_clone(folder: Path) -> Path:
    """Six images, a captions file that ends without a line end, lines ended as on Windows."""
    names = [f"COCO_{'val2014' if n == 5 else 'train2014'}_{n:012d}.jpg" for n in range(6)]
    put(folder / "XTD10/test_image_names.txt", "\n".join(names) + "\n")
    put(folder / "XTD10/test_1kcaptions_it.txt", "\r\n".join(f"un gatto\u2028{n} " for n in range(6)))
    put(folder / "MIC/test_1kcaptions_de.txt", "\n".join(GERMAN) + "\n")
    put(folder / "STAIR/test_1kcaptions_jp.txt", "\ufeff" + "猫\n" * 6)
    return folder


def multi30k_clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clones of both repositories laid over each other, and the images of Flickr30k."""
    monkeypatch.setattr(multi30k, "COUNTS", dict.fromkeys(multi30k.COUNTS, 2))
    monkeypatch.setattr(fm30k, "CAPTIONS", 6)
    monkeypatch.setattr(fm30k, "IMAGES", 3)
    task1, task2 = tmp_path / "data/task1", tmp_path / "data/task2"
    put(task1 / "image_splits/test_2016_flickr.txt", "1.jpg\n2.jpg\n")
    put(task1 / "image_splits/test_2017_mscoco.txt", "COCO_train2014_07.jpg#367178\nCOCO_val2014_08.jpg#12\n")
    packed(task1 / "raw/test_2016_flickr.cs.gz", "jeden", "dva ")
    packed(task1 / "raw/test_2017_mscoco.fr.gz", "sept", "huit")
    for number in range(1, 6):
        packed(task2 / f"raw/test_2016.{number}.de.gz", f"eins {number}", f"zwei {number}")
    lines = [f"{name}.jpg#{number}\t{name} dito {number}" for name in "321" for number in (1, 2)]
    packed(tmp_path / "data/flickr30k/captions.txt.gz", *lines)
    packed(tmp_path / "data/multi30k/task1/raw/test_2016_flickr.pt.gz", "um", "dois")
    put(tmp_path / "flickr30k-images/2.jpg", "two")
    put(tmp_path / "val2014/COCO_val2014_08.jpg", "eight")
    return tmp_path
