"""Eval sets that are a folder: CLIP_benchmark's webdatasets, and images in a folder for each class."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from support.foreign import write_foreign
from support.made import jpeg
from support.packed import pack, said
from support.webdatasets import write_webdataset

from capivara_cli import registry
from capivara_cli.errors import CapivaraError, TruncatedInput, UsageError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.images import decode_image


def load(spec: str, lang: str = "en", split: str = "test"):
    env = Env(Settings(device="cpu"), "eval")
    return registry.load("evalsets", spec, lang=lang, data="", split=split, env=env)


def tree(root: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        (root / name / "x.jpg").write_bytes(jpeg((number, 0, 0), (8, 8)))
    return root


def npy(values, **options) -> bytes:
    out = io.BytesIO()
    np.save(out, values, **options)
    return out.getvalue()


# --- wds ---
@pytest.fixture
def classes(tmp_path) -> Path:
    write_webdataset(tmp_path, "test", [[("s0", {"cls": b"1"}), ("s1", {"cls": b"0"})], [("s2", {"cls": b"1"})]])
    (tmp_path / "classnames.txt").write_text("cat\n dog \n")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nthe {c}\n")
    return tmp_path


def test_a_webdataset_of_classes(classes):
    found = load(f"wds:{classes}")
    assert [(each.key, list(each.members), each.members["cls"]) for each in found.samples] == [
        ("s0", ["jpg", "cls"], b"1"), ("s1", ["jpg", "cls"], b"0"), ("s2", ["jpg", "cls"], b"1"),
    ]  # fmt: skip
    assert (found.classes, found.templates) == (("cat", "dog"), ("a photo of a {}.", "the {}"))
    assert (found.name, found.metric, found.provenance.split) == (f"wds:{classes}", "accuracy", "test")
    assert set(found.provenance.checksums) == {"classnames.txt", "zeroshot_classification_templates.txt"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\r\ntwo\n", ["one", "two"]), ("\ufeffone\n\n two ", ["one", "two"]), ("one", ["one"]), (" \n", []),
        ("one\u0085more\rtwo\u2028more", ["one\u0085more", "two\u2028more"]),
    ],
)  # fmt: skip
def test_eval_and_pack_find_the_same_captions(text: str, expected: list[str], tmp_path: Path) -> None:
    write_webdataset(tmp_path, "test", [[("s0", {"txt": text.encode()})]])
    (tmp_path / "dataset_type.txt").write_text("retrieval\n")
    evaluated = [said(sample) for sample in load(f"wds:{tmp_path}").samples]
    packed, _ = pack(tmp_path / "test" / "0.tar")
    assert evaluated == [said(sample) for sample in packed] == [[("en", each) for each in expected]]


def test_captions_that_are_not_utf_8_are_an_error_that_names_the_sample(tmp_path: Path) -> None:
    write_webdataset(tmp_path, "test", [[("s0", {"txt": b"one"}), ("s1", {"txt": b"caf\xe9"})]])
    (tmp_path / "dataset_type.txt").write_text("retrieval\n")
    with pytest.raises(CapivaraError, match=r"0\.tar: s1\.txt: captions are not UTF-8"):
        list(load(f"wds:{tmp_path}").samples)


@pytest.mark.parametrize("extra", ["._{}", "__MACOSX/._{}", "Thumbs.db", "__MACOSX/{}"])
def test_a_webdataset_made_on_macos_or_windows(extra: str, tmp_path: Path) -> None:
    members = [("s0.jpg", jpeg()), ("s0.txt", b"one"), ("s1.jpg", jpeg((9, 9, 9))), ("s1.txt", b"two")]
    doubled = [each for name, data in members for each in ((extra.format(name), b"\0\5\x16\7"), (name, data))]
    write_foreign(tmp_path / "test" / "0.tar", doubled)
    (tmp_path / "test" / "nshards.txt").write_text("1")
    (tmp_path / "dataset_type.txt").write_text("retrieval\n")
    assert [said(sample) for sample in load(f"wds:{tmp_path}").samples] == [[("en", "one")], [("en", "two")]]


def test_a_webdataset_in_another_language(classes):
    assert registry.module("evalsets", "wds").languages(f"{classes}@pt") == ("pt",)
    assert load(f"wds:{classes}@pt", "pt").lang == "pt"
    with pytest.raises(CapivaraError, match=r"there is no language in wds:.* 'pt'; there are en") as caught:
        load(f"wds:{classes}", "pt")
    assert caught.value.hint == f"if it is in pt: wds:{classes}@pt"


def test_shards_directly_in_the_folder(tmp_path, capsys):
    write_webdataset(tmp_path, "", [[("s0", {"cls": b"1"})]])
    assert [each.key for each in load(f"wds:{tmp_path}").samples] == ["s0"]
    assert "has no classnames.txt; name the classes with --classes" in capsys.readouterr().err


def test_captions_end_at_a_newline_only(tmp_path):
    text = "A dog\u2028on grass\nUm c\u00e3o\x85!\n\n".encode()
    write_webdataset(tmp_path, "test", [[("s0", {"txt": text})]])
    (tmp_path / "dataset_type.txt").write_text("retrieval\n")
    (tmp_path / "classnames.txt").write_text("not\nused\n")
    found = load(f"wds:{tmp_path}@pt", "pt")
    (sample,) = found.samples
    assert [(each.text, each.lang) for each in sample.captions] == [
        ("A dog\u2028on grass", "pt"),
        ("Um cão\x85!", "pt"),
    ]
    assert (found.classes, found.templates) == ((), ())


def test_images_with_several_classes(tmp_path):
    write_webdataset(tmp_path, "test", [[("a", {"npy": npy(np.array([0, 1, 1.0]))}), ("b", {"npy": npy(np.zeros(3))})]])
    (tmp_path / "dataset_type.txt").write_text("multilabel")
    found = load(f"wds:{tmp_path}")
    assert found.metric == "map-11-point"
    assert [each.document for each in found.samples] == [{"classes": [1, 2]}, {"classes": []}]


def test_no_pickle_is_opened(tmp_path):
    pickled = npy(np.array([{"x": 1}], dtype=object), allow_pickle=True)
    for wrong, message in (
        (pickled, "not an array of numbers"),
        (npy(np.zeros((2, 2))), r"an array of shape \(2, 2\)"),
    ):
        write_webdataset(tmp_path, "test", [[("a", {"npy": wrong})]])
        with pytest.raises(CapivaraError, match=message):
            list(load(f"wds:{tmp_path}").samples)


def test_what_a_webdataset_lacks_is_said(classes, tmp_path, capsys):
    with pytest.raises(UsageError, match="wds needs a folder"):
        load("wds:")
    with pytest.raises(CapivaraError, match="no such folder"):
        load(f"wds:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CapivaraError, match=r"has no nshards\.txt"):
        load(f"wds:{tmp_path / 'empty'}")
    with pytest.raises(CapivaraError, match=r"there is no split in .* 'train'; there are test"):
        load(f"wds:{classes}", split="train")
    (classes / "classnames.txt").write_text("cat\n\ncat\n")
    with pytest.raises(CapivaraError, match="class 1 has an empty name"):
        load(f"wds:{classes}")
    (classes / "classnames.txt").write_text("cat\ncat\n")
    assert load(f"wds:{classes}").classes == ("cat", "cat")
    assert "1 names stand for several classes, the first is 'cat'" in capsys.readouterr().err
    (classes / "zeroshot_classification_templates.txt").write_text("a photo\n")
    with pytest.raises(CapivaraError, match=r"template 'a photo' has no \{\} or \{c\}"):
        load(f"wds:{classes}")
    (classes / "dataset_type.txt").write_text("retrival")
    with pytest.raises(CapivaraError, match="'retrival'; there are multilabel, retrieval — did you mean retrieval"):
        load(f"wds:{classes}")


def test_damaged_shards_are_refused(classes):
    write_webdataset(classes, "test", [[("s0", {"cls": b"cat"})]])
    with pytest.raises(CapivaraError, match="'cat' is not a class number"):
        list(load(f"wds:{classes}").samples)
    shard = classes / "test" / "0.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(TruncatedInput, match="cut off"):
        list(load(f"wds:{classes}").samples)


def test_clip_benchmark_reads_the_same(classes):
    builder = pytest.importorskip("clip_benchmark.datasets.builder")
    theirs = builder.build_wds_dataset("x", lambda image: image.getpixel((0, 0)), data_dir=str(classes))
    ours = load(f"wds:{classes}")
    assert tuple(theirs.classes) == ours.classes
    assert tuple(each.replace("{c}", "{}") for each in theirs.templates) == ours.templates
    expected = [(decode_image(each).getpixel((0, 0)), int(each.members["cls"])) for each in ours.samples]
    assert list(theirs) == expected
    assert len(expected) == 3


# --- folder ---
def test_a_folder_for_each_class(tmp_path):
    tree(tmp_path, ["big_dog", "cat"])
    found = load(f"folder:{tmp_path}")
    assert (found.classes, found.templates, found.lang) == (("big dog", "cat"), (), "en")
    assert [(each.key, each.members["cls"]) for each in found.samples] == [("big_dog/x", b"0"), ("cat/x", b"1")]
    assert load(f"folder:{tmp_path}@pt", "pt").lang == "pt"
    with pytest.raises(CapivaraError, match=r"there is no language in folder:.* 'pt'; there are en"):
        load(f"folder:{tmp_path}", "pt")


def test_splits_of_a_folder(tmp_path):
    tree(tmp_path / "test", ["cat", "dog", "fish"])
    tree(tmp_path / "train", ["dog", "fish"])
    found = load(f"folder:{tmp_path}", split="train")
    assert found.classes == ("cat", "dog", "fish")
    assert [(each.key, each.members["cls"]) for each in found.samples] == [("dog/x", b"1"), ("fish/x", b"2")]
    tree(tmp_path / "train", ["bird"])
    with pytest.raises(CapivaraError, match=r"train has a class 'bird' that .*test does not have"):
        load(f"folder:{tmp_path}", split="train")


def test_what_a_folder_lacks_is_said(tmp_path):
    with pytest.raises(UsageError, match="folder needs a path"):
        load("folder:")
    with pytest.raises(CapivaraError, match="has no folders with images of the split test") as caught:
        load(f"folder:{tmp_path}")
    assert "PATH/CLASS/*.jpg" in caught.value.hint
    tree(tmp_path, ["cat"])
    with pytest.raises(CapivaraError, match="1 class names; at least two are needed"):
        load(f"folder:{tmp_path}")
    tree(tmp_path, ["big dog", "big_dog"])
    with pytest.raises(CapivaraError, match="class name 'big dog' stands for classes 0, 1"):
        load(f"folder:{tmp_path}")
    with pytest.raises(CapivaraError, match="no folders with images of the split train"):
        load(f"folder:{tmp_path}", split="train")
    with pytest.raises(CapivaraError, match="there is no split of a folder 'dev'"):
        load(f"folder:{tmp_path}", split="dev")
