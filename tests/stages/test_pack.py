"""What ``pack`` says of its sources before any work, and image files that are named one by one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.layouts import Image
from support.packed import said
from support.warm import CAPIVARA

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._packing import PackOptions, samples_of_sources


def capivara(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CAPIVARA, *words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)


RED, BLUE = Image(0).encoded(), Image(1).encoded()


def pack(*sources: Path, **options: str) -> list[Sample]:
    return list(
        samples_of_sources([str(source) for source in sources], PackOptions(**options), Env(Settings(), "pack"))
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, data in {"a.jpg": RED, "b.png": BLUE, "sub/a.jpg": BLUE, "a.txt": b"one\ntwo\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "list.csv").write_text("image,caption\nb.png,blue\n")
    return tmp_path


def test_image_files_are_packed_with_the_captions_beside_them(photos: Path) -> None:
    found = pack(photos / "b.png", photos / "a.jpg")
    assert [(sample.key, said(sample)) for sample in found] == [("b", []), ("a", [("en", "one"), ("en", "two")])]
    assert [sample.key for sample in pack(photos / "a.jpg", photos / "sub" / "a.jpg")] == ["a", "sub/a"]


def test_image_files_and_other_sources_keep_their_order(photos: Path) -> None:
    found = pack(photos / "a.jpg", photos / "list.csv", photos / "sub" / "a.jpg")
    assert [(sample.key, len(sample.captions)) for sample in found] == [("a", 2), ("b", 1), ("a_jpg", 0)]


def test_an_image_file_is_one_for_each_format_that_reads_it(photos: Path) -> None:
    assert [sample.key for sample in pack(photos / "a.jpg", format="folder")] == ["a"]
    with pytest.raises(CapivaraError):
        pack(photos / "a.jpg", format="table")


@pytest.mark.parametrize("missing", ["gone.csv", "dangling", "loop", "gone/", "notes.md", "empty"])
def test_a_source_that_cannot_be_read_is_refused_before_any_work(photos: Path, missing: str) -> None:
    (photos / "dangling").symlink_to("nowhere")
    (photos / "loop").symlink_to("loop")
    (photos / "notes.md").write_text("# notes")
    (photos / "empty").mkdir()
    ran = capivara("pack", "list.csv", missing, "--out", "out", cwd=photos)
    assert (ran.returncode, missing.rstrip("/") in ran.stderr) == (1, True), ran.stderr
    assert not (photos / "out").exists()
    assert capivara("pack", "list.csv", "--out", "out", cwd=photos).returncode == 0


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (
            "translate list.csv --lang pt",
            "list.csv: not a shard\n  make shards of it first: capivara pack list.csv --out",
            1,
        ),
        ("show a.jpg", "a.jpg: not a shard\n  make shards of it first: capivara pack . --out", 1),
        ("split sub/a.jpg --out x", "capivara pack sub --out shards", 1),
        ("eval list.csv --model toy", "list.csv: not a shard\n  make shards of it first: capivara pack list.csv", 1),
        ("eval", "eval: no target is named\n  name an eval set, shards or a run: capivara eval", 2),
        ("pack empty --out x", "empty: an empty folder\n  put images into it: capivara pack FOLDER --out shards", 1),
        ("pack notes --out x", "notes: no images, table or tar files in this folder; it has 1 .md", 1),
        ("pack a.txt --out x", "captions beside images are found in their folder: capivara pack . --out shards", 1),
        ("pack", "pack: no input is named\n  for example: capivara pack photos/captions.csv", 2),
    ],
)
def test_one_line_says_what_to_type(photos: Path, words: str, message: str, code: int) -> None:
    (photos / "empty").mkdir()
    (photos / "notes").mkdir()
    (photos / "notes" / "n.md").write_text("# notes")
    ran = capivara(*words.split(), cwd=photos)
    assert (ran.returncode, message in ran.stderr) == (code, True), ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 2


@pytest.mark.parametrize("bad", ["no image exists", "a column is missing", "every image is bad"])
def test_a_command_that_fails_leaves_no_empty_folder(photos: Path, bad: str) -> None:
    texts = {"no image exists": "image,caption\ngone.jpg,x\n", "a column is missing": "image,number\na.jpg,1\n"}
    (photos / "bad.csv").write_text(texts.get(bad, "image,caption\nbad.jpg,x\n"))
    (photos / "bad.jpg").write_bytes(b"no image")
    ran = capivara("pack", "bad.csv", "--out", "new/out", cwd=photos)
    assert (ran.returncode, (photos / "new" / "out").exists()) == (1, False), ran.stderr
    (photos / "mine").mkdir()
    assert capivara("pack", "bad.csv", "--out", "mine", cwd=photos).returncode == 1
    assert (photos / "mine").is_dir(), "a folder that was there stays"
    assert capivara("pack", "list.csv", "--out", "new/out", cwd=photos).returncode == 0


def test_shards_that_are_finished_when_a_command_fails_stay(photos: Path) -> None:
    for number in range(40):
        (photos / f"{number}.jpg").write_bytes(RED)
    (photos / "many.csv").write_text("image,caption\n" + "".join(f"{number}.jpg,y\n" for number in range(40)))
    (photos / "39.jpg").write_bytes(b"no image")
    words = ["pack", "many.csv", "--shard-size", "1", "--out", "out", "--max-failures", "0"]
    ran = capivara(*words, cwd=photos)
    assert ran.returncode == 1, ran.stderr
    assert (photos / "out" / "00000.tar").exists()
