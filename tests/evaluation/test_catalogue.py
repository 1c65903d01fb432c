"""The catalogue: names, groups, variants, and what a folder is."""

from __future__ import annotations

import pytest
from support.made import jpeg, shard_bytes, toy_like
from support.webdatasets import write_webdataset

from capivara_cli import registry
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import catalogue
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings

ELEVATER = [
    "caltech101", "cifar10", "cifar100", "country211", "dtd", "eurosat", "fer2013", "fgvc-aircraft", "flowers102",
    "food101", "gtsrb", "hateful-memes", "kitti-distance", "mnist", "oxford-pets", "patch-camelyon", "rendered-sst2",
    "resisc45", "stanford-cars", "voc2007",
]  # fmt: skip
LACLIP = [
    "caltech101", "cifar10", "cifar100", "country211", "dtd", "eurosat", "fgvc-aircraft", "flowers102", "food101",
    "gtsrb", "oxford-pets", "resisc45", "stanford-cars", "stl10", "sun397",
]  # fmt: skip


def load(spec: str, **options: str):
    chosen = {"lang": "en", "data": "", "split": "test", **options}
    return catalogue.load(spec, env=Env(Settings(device="cpu"), "eval"), **chosen)


def test_names_are_the_plugins_and_the_labelled_sets():
    names = catalogue.names()
    assert names == sorted(set(names))
    assert set(registry.names("evalsets")) | set(ELEVATER) | set(LACLIP) | {"imagenet", "objectnet"} == set(names)
    assert not [name for name in names if name.startswith(("_", "-"))]
    for name in names:
        assert 10 < len(catalogue.describe(name)) < 120, name
    assert catalogue.describe("mnist") == "MNIST: handwritten digits"
    assert catalogue.describe("toy").startswith("Held-out scenes of the toy world")


def test_groups():
    assert catalogue.groups() == {"elevater": ELEVATER, "laclip": LACLIP}


def test_a_group_becomes_its_sets():
    assert catalogue.expand("elevater") == ELEVATER
    assert catalogue.expand("elevater", "paper") == [f"{name}:paper" for name in ELEVATER]
    assert catalogue.expand("fgvc_aircraft") == ["fgvc-aircraft"]
    assert catalogue.expand("imagenet:paper") == ["imagenet:paper"]
    assert catalogue.expand("imagenet:paper", "paper") == ["imagenet:paper"]
    assert catalogue.expand("toy:12") == ["toy:12"]
    assert catalogue.expand("folder:a_b/c") == ["folder:a_b/c"]


def test_what_cannot_be_expanded():
    for spec in ("toy", "laclip", "sun397", "folder:x", "objectnet"):
        with pytest.raises(CapivaraError, match="the CAPIVARA paper has no class names for it"):
            catalogue.expand(spec, "paper")
    with pytest.raises(CapivaraError, match="there is no list of labels 'papre'; there are paper — did you mean paper"):
        catalogue.expand("mnist", "papre")
    with pytest.raises(CapivaraError, match="a group has no variants"):
        catalogue.expand("elevater:paper")
    with pytest.raises(
        CapivaraError, match=r"there is no eval set 'cifar1000'; there are .*mnist.* did you mean cifar100"
    ):
        catalogue.expand("cifar1000")
    for ask in (catalogue.languages, load):
        with pytest.raises(CapivaraError, match=r"there is no eval set 'elevator'; .* did you mean elevater"):
            ask("elevator")


def test_languages():
    assert list(catalogue.languages("mnist")) == ["en", "pt"]
    assert list(catalogue.languages("mnist:paper")) == ["pt"]
    assert list(catalogue.languages("sun397")) == ["en"]
    assert list(catalogue.languages("toy:12")) == ["en", "pt", "hi", "xh"]
    assert list(catalogue.languages("wds:x@hi")) == ["hi"]
    assert len(catalogue.languages("babel_imagenet")) == 93


def test_each_set_has_its_folder_in_the_data(tmp_path):
    write_webdataset(tmp_path / "mnist", "test", [[("m", {"cls": b"3"})]])
    write_webdataset(tmp_path / "rendered_sst2", "test", [[("r", {"cls": b"1"})]])
    write_webdataset(tmp_path, "test", [[("x", {"cls": b"0"})]])
    keys = {name: [each.key for each in load(name, data=str(tmp_path)).samples] for name in ("mnist", "rendered-sst2")}
    assert keys == {"mnist": ["m"], "rendered-sst2": ["r"]}
    assert [each.key for each in load("stl10", data=str(tmp_path)).samples] == ["x"]
    found = load("mnist:paper", lang="pt", data=str(tmp_path))
    assert (found.name, found.names_by) == ("mnist:paper", "CAPIVARA (paper)")


def test_plugins_are_loaded_through_it():
    assert [each.key for each in load("toy:2").samples] == ["toy-heldout-00000", "toy-heldout-00001"]


def test_what_a_folder_is(tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "00000.tar").write_bytes(shard_bytes(toy_like(1)))
    assert catalogue.recognise(shards) is None
    assert catalogue.recognise(tmp_path / "nowhere") is None
    assert catalogue.recognise(shards / "00000.tar") is None
    split = write_webdataset(tmp_path / "split", "test", [[("m", {"cls": b"3"})]])
    flat = write_webdataset(tmp_path / "flat", "", [[("m", {"cls": b"3"})]])
    assert (catalogue.recognise(split), catalogue.recognise(flat)) == (f"wds:{split}", f"wds:{flat}")
    for photos in (tmp_path / "photos", tmp_path / "parts" / "test"):
        (photos / "cat").mkdir(parents=True)
        (photos / "cat" / "1.JPG").write_bytes(jpeg())
    assert catalogue.recognise(tmp_path / "photos") == f"folder:{tmp_path / 'photos'}"
    assert catalogue.recognise(tmp_path / "parts") == f"folder:{tmp_path / 'parts'}"
    assert catalogue.recognise(tmp_path / "photos" / "cat") is None  # images, and no classes
