"""``read``: an iterable of samples that has a length, and is cut by shard."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made import a_sample, jpeg, shard_bytes, toy_like

import capivara_cli as capivara
from capivara_cli.library import shards as module

FORMS = {
    "folder": "shards",
    "path": Path("shards"),
    "tar": ["shards/00000.tar", "shards/00001.tar"],
    "braces": "shards/{00000..00001}.tar",
    "glob": "shards/*.tar",
}


@pytest.mark.parametrize("inputs", FORMS.values(), ids=FORMS)
def test_every_form_of_input_is_read(inputs: str | Path | list[str], here: Path) -> None:
    shards = capivara.read(inputs)
    assert [Path(each).name for each in shards.paths] == ["00000.tar", "00001.tar"]
    assert [sample.key for sample in shards] == [f"{number:05d}" for number in range(6)]
    assert [sample.key for sample in shards] == [f"{number:05d}" for number in range(6)], "again"


def test_a_url_is_read(here: Path) -> None:
    assert len(capivara.read(f"file://{here}/shards")) == 6


def test_a_sample_has_captions_image_and_json(here: Path) -> None:
    sample = next(iter(capivara.read("shards")))
    assert [(each.text, each.lang, each.by) for each in sample.captions] == [
        ("a red square number 0", "en", "alt"), ("a red square on a white background", "en", "someone"),
    ]  # fmt: skip
    assert (sample.image.mode, sample.image.size) == ("RGB", (64, 64))
    assert sample.json["id"] == 0
    assert sorted(sample.members) == ["jpg", "json"]
    assert repr(sample).startswith("Sample('00000', jpg ")
    sample.json["id"] = 1
    sample.members["jpg"] = b""
    assert sample.json["id"] == 0, "a copy was changed"
    assert sample == next(iter(capivara.read("shards")))


def test_slices_are_of_shards(here: Path) -> None:
    shards = capivara.read("shards")
    assert [sample.key for sample in shards[1:2]] == ["00003", "00004", "00005"]
    assert (len(shards[0:1]), len(shards[:]), len(shards[2:])) == (3, 6, 0)
    assert list(shards[2:]) == []
    with pytest.raises(capivara.UsageError, match="range of shards") as caught:
        shards[0]  # type: ignore[index]
    assert "shards[0:1]" in caught.value.hint


def test_the_length_is_that_of_the_manifest_or_counted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(capivara.read("shards")) == 6, "counted: there is no manifest"
    capivara.write(capivara.read("shards"), "out", energy=False)
    opened: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(module, "open_shard", opened.append)
        assert len(capivara.read("out")) == 6
    assert opened == []
    Path("out/00000.tar").write_bytes(shard_bytes(toy_like(5)))
    with pytest.raises(capivara.CapivaraError, match="damaged"):
        len(capivara.read(["out/00000.tar", "out/00001.tar"]))


def test_a_missing_input_is_an_error_at_once(here: Path) -> None:
    for wrong in ("nowhere", [], "shards/*.zip", ["shards", "nowhere"], 3):
        with pytest.raises(capivara.CapivaraError):
            capivara.read(wrong)  # type: ignore[arg-type]


def test_a_damaged_shard_is_an_error_at_its_place(here: Path) -> None:
    (here / "shards" / "00001.tar").write_bytes(shard_bytes(toy_like(3, 3))[:-1024])
    found = []
    with pytest.raises(capivara.CapivaraError, match=r"00001\.tar"):
        found.extend(sample.key for sample in capivara.read("shards"))
    assert found[:3] == ["00000", "00001", "00002"]
    with pytest.raises(capivara.CapivaraError, match=r"00001\.tar"):
        len(capivara.read("shards"))


def test_a_damaged_sample_is_an_error_where_it_is_used(here: Path) -> None:
    samples = [a_sample("a", image=b"\xff\xd8 none"), a_sample("b", image=jpeg())]
    (here / "bad.tar").write_bytes(shard_bytes(samples))
    bad, good = capivara.read("bad.tar")
    with pytest.raises(capivara.CapivaraError, match=r"^a: image cannot be decoded"):
        _ = bad.image
    assert good.image.size == (64, 48)
    damaged = capivara.Sample("c", {"json": b"{"})
    for use in (lambda: damaged.captions, lambda: damaged.json, lambda: damaged.image, lambda: damaged.with_json(a=1)):
        with pytest.raises(capivara.CapivaraError, match=r"^c: "):
            use()


def test_a_sample_is_made_from_an_image(here: Path) -> None:
    from PIL import Image

    caption = capivara.Caption("a dog", "en", "me")
    (here / "dog.jpg").write_bytes(jpeg())
    grey = Image.new("L", (9, 8))
    for image, suffix in ((jpeg(), "jpg"), ("dog.jpg", "jpg"), (Path("dog.jpg"), "jpg"), (grey, "png")):
        sample = capivara.Sample.of("photos/dog", image, [caption], source="camera")
        assert list(sample.members) == [suffix, "json"]
        assert (sample.captions, sample.json["source"], sample.image.mode) == ([caption], "camera", "RGB")
    written = capivara.write([sample], "out", energy=False)
    assert list(written) == [sample]
    with pytest.raises(capivara.CapivaraError, match="nowhere"):
        capivara.Sample.of("dog", "nowhere.jpg")
    with pytest.raises(capivara.CapivaraError, match="dog: image cannot be decoded"):
        capivara.Sample.of("dog", b"no image")


@pytest.mark.parametrize("key", ["", "a.b", "/a", "a//b", "../a", "a/", "."])
def test_a_key_that_a_shard_cannot_hold_is_refused(key: str) -> None:
    with pytest.raises(capivara.UsageError, match="cannot be the key"):
        capivara.Sample(key, {"jpg": b""})


def test_duplicates_are_counted(here: Path) -> None:
    sample = toy_like(1)
    (here / "double.tar").write_bytes(shard_bytes(sample + sample))
    shards = capivara.read("double.tar")
    assert len(list(shards)) == 1
    assert shards.tally.dropped == {"duplicate key": 1}
    assert shards.tally.read == shards.tally.written + 1
