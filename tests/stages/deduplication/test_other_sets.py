"""dedupe --against: no image that a model is tested with is left to train it on."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.deduping import a_noise, keys, noise, over
from support.made import a_sample, jpeg

from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.evaluation import catalogue
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, check_options
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.dedupe import Options, dedupe
from capivara_cli.stages.deduplication.image_ids import _names, identities
from capivara_cli.stages.deduplication.other_set_names import OtherSet, expand_sets

Shards = Callable[..., Path]


def named(key: str, **document: Any) -> set[str]:
    return set(_names(key, document))


def test_numbers_of_coco() -> None:
    coco = {"coco:391895"}
    assert named("COCO_val2014_000000391895") == coco
    assert named("val2014/COCO_val2014_000000391895") == coco
    assert named("00001", file="train2017/000000391895.jpg") == coco
    assert named("00001", cocoid=391895) == coco
    assert coco < named("00001", coco_url="http://images.cocodataset.org/val2017/000000391895.jpg")
    assert named("00001", cocoid=True) == named("00001", cocoid="x") == set()


def test_numbers_of_flickr() -> None:
    flickr = {"flickr:1007129816"}
    assert named("1007129816") == flickr
    assert named("a/b", file="images/1007129816_e794419615.jpg") == flickr
    assert named("a/b", filename="36979_abcdef0123.jpg") == {"flickr:36979"}
    assert flickr < named("0", url="https://farm1.staticflickr.com/127/1007129816_e794419615_z.jpg")
    assert flickr < named("0", flickr_url="http://farm1.STATICFLICKR.com/127/1007129816_e794419615_z.jpg")
    assert named("0", flickr_id="1007129816") == flickr


def test_addresses() -> None:
    expected = {"address:example.org/a/Dog one.jpg"}
    assert named("0", url="https://Example.org/a/Dog%20one.jpg?w=300#x") == expected
    assert named("0", url="http://example.org/a/Dog one.jpg") == expected
    assert named("0", file="http://example.org/a/Dog one.jpg") == expected
    assert named("0", url="https://example.org/image?id=7") == {"address:example.org/image?id=7"}
    for nothing in ("", "not an address", "http://[", "https://example.org/", 7, None):
        assert named("0", url=nothing) == set()


@pytest.mark.parametrize(
    "key",
    ["00017", "36979", "img_0017", "IMG_20240101_120000", "s0000017", "sample-00017", "train/00017", "beach", "dog 1",
     "DSC_0012", "20240101_12000012", "page", "a", "000123456"],
)  # fmt: skip
def test_counters_and_words_identify_nothing(key: str) -> None:
    assert named(key) == set()
    assert named("0", file=f"photos/{key}.jpg") == set()


def test_other_names() -> None:
    assert named("val/ILSVRC2012_val_00000001") == {"name:ilsvrc2012_val_00000001"}
    assert named("c0f2a5a7d83a5b1c") == {"name:c0f2a5a7d83a5b1c"}
    assert named("0", image="n01440764_10026.JPEG") == {"name:n01440764_10026"}
    assert named("0", id="c0f2a5a7d83a5b1c") == set()


def test_a_downloaders_counter_is_no_number_of_flickr() -> None:
    assert named("100012345") == {"flickr:100012345"}
    assert named("100012345", url="https://a.org/x.jpg") == {"address:a.org/x.jpg"}


def test_identities_are_64_bits_each() -> None:
    found = identities(Sample("COCO_val2014_000000391895", {}), {"file": "1007129816_e794419615.jpg"})
    assert found == sorted(found) == identities(Sample("1007129816", {}), {"cocoid": 391895})
    assert [each.bit_length() <= 64 for each in found] == [True, True]


def test_known_again_by_name_by_bytes_and_by_hash(shards: Shards) -> None:
    heldout = shards(
        [a_noise("COCO_val2014_000000000001", 1), a_noise("b", 2)],
        [a_noise("c", 3), Sample("broken", {"jpg": b"?", "json": b"{}"})],
        name="heldout",
    )
    train = [
        a_sample("by name", image=noise(77), file="000000000001.jpg"),
        a_sample("by bytes", image=noise(2)),
        a_sample("by hash", image=noise(3, (128, 96))),
        a_sample("all of it", image=noise(1), cocoid=1),
        a_noise("mine", 5),
    ]
    expected = {f"in {heldout}: same id": 2, f"in {heldout}: same bytes": 1, f"in {heldout}: near perceptual hash": 1}
    for images in ("keep", "exact", "phash"):
        for batch_size in (1, 2, 64):
            results, env = over([train[:2], train[2:]], images=images, against=str(heldout), batch_size=batch_size)
            assert [[sample.key for sample in shard] for shard in results] == [[], ["mine"]]
            assert env.tally.dropped == expected
            assert env.tally.failed == 0
    again, env = over(results, against=str(heldout))
    assert (again, env.tally.dropped) == (results, {})


@pytest.mark.parametrize(
    ("ways", "left"),
    [("id", ["bytes", "hash", "mine"]), ("bytes", ["name", "hash", "mine"]), ("phash", ["name", "mine"]),
     ("bytes, id", ["hash", "mine"]), ("embedding", ["mine"])],
)  # fmt: skip
def test_ways_can_be_chosen(shards: Shards, ways: str, left: list[str]) -> None:
    heldout = shards([a_noise("COCO_val2014_000000000001", 1), a_noise("b", 2), a_noise("c", 3)], name="heldout")
    other = noise(77) if ways != "embedding" else noise(1)
    train = [a_sample("name", image=other, cocoid=1), a_sample("bytes", image=noise(2))]
    train += [a_sample("hash", image=noise(3, (128, 96))), a_sample("mine", image=stripes())]
    for images in ("keep", "exact"):
        results, _ = over([train], against=str(heldout), against_by=ways, images=images, model="toy", similarity=0.99)
        assert keys(results) == left


def stripes() -> bytes:
    out = io.BytesIO()
    Image.fromarray((np.indices((48, 64))[1] // 4 % 2 * 255).astype(np.uint8)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def test_the_first_set_counts(shards: Shards) -> None:
    one = shards([a_noise("b", 2)], name="one")
    other = shards([a_noise("b", 2), a_noise("c", 3)], name="other")
    train = [[a_noise("x", 2), a_noise("y", 3), a_noise("z", 4)]]
    assert over(train, against=f"{one},{other}")[1].tally.dropped == {
        f"in {one}: same bytes": 1,
        f"in {other}: same bytes": 1,
    }
    assert over(train, against=f"{other},{one}")[1].tally.dropped == {f"in {other}: same bytes": 2}
    tar = str(next(one.glob("*.tar")))
    assert keys(over(train, against=f"{one}/*.tar")[0]) == keys(over(train, against=tar)[0]) == ["y", "z"]


def test_what_is_kept_out_decides_about_no_other(shards: Shards) -> None:
    """a is in the other set; b is near a but not near anything there: b stays, and c goes for b."""
    pixels = np.random.default_rng(5).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC)
    cut = io.BytesIO()
    image.crop((12, 9, 628, 471)).save(cut, "PNG")
    original = io.BytesIO()
    image.save(original, "PNG")
    heldout = shards([a_sample("x", image=original.getvalue())], name="heldout")
    train = [a_sample("a", image=original.getvalue()), a_sample("b", image=cut.getvalue())]
    train.append(a_sample("c", image=cut.getvalue()))
    assert keys(over([train], images="phash", radius=10)[0]) == ["a"]
    options = {"against": str(heldout), "against_by": "bytes", "images": "phash", "radius": 10}
    results, env = over([train], **options)
    assert keys(results) == ["b"]
    assert env.tally.dropped == {f"in {heldout}: same bytes": 1, "near-duplicate image (phash)": 1}


def test_eval_sets_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    toy = catalogue.load("toy:4", lang="en", data="", split="test", env=Env(Settings(), "x"))
    train = [*toy.samples, a_noise("mine", 1)]
    train[1] = Sample("renamed", train[1].members)
    results, env = over([train], against="toy:4", against_by="id,bytes")
    assert keys(results) == ["mine"]
    assert env.tally.dropped == {"in toy:4: same id": 3, "in toy:4: same bytes": 1}
    assert "removing images that are also in toy:4 (4 images)" in capsys.readouterr().err
    results, _ = over([train], against="toy:4", against_by="id,bytes", split="val")
    assert len(keys(results)) == 5


def test_a_set_of_yours(shards: Shards, tmp_path: Path) -> None:
    folder = tmp_path / "flickr30k"
    (folder / "flickr30k-images").mkdir(parents=True)
    with pytest.raises(CapivaraError, match=r"dataset_flickr30k\.json"):
        over([[a_noise("mine", 1)]], against="flickr30k", data=str(tmp_path))


def test_sets_are_named() -> None:
    assert expand_sets(["xtd", "flickr30k"]) == [OtherSet("xtd", False), OtherSet("flickr30k", False)]
    assert expand_sets(["s3://bucket/00000.tar", "heldout/{00..03}.tar"]) == [
        OtherSet("s3://bucket/00000.tar", True),
        OtherSet("heldout/{00..03}.tar", True),
    ]
    assert len(expand_sets(["elevater"])) == 20
    assert Options(against="xtd, flickr30k").against_names == ("xtd", "flickr30k")


def test_wrong_names_are_refused_before_anything_is_read() -> None:
    with pytest.raises(CapivaraError, match=r"there is no eval set 'flikr30k'.*did you mean flickr30k"):
        Options(against="flikr30k").check()
    with pytest.raises(CapivaraError, match="there is no eval set 'nowhere/'"):
        Options(against="nowhere/").check()
    with pytest.raises(UsageError, match="--against: a name is empty"):
        check_options(Options(against=","))
    with pytest.raises(UsageError, match="--against-by: there is no kind of match 'md5'; there are bytes, embedding"):
        check_options(Options(against="toy", against_by="id,md5"))
    with pytest.raises(UsageError, match="--against-by: a name is empty"):
        check_options(Options(against="toy", against_by=","))


def test_a_set_nothing_of_which_can_be_read_is_an_error(shards: Shards) -> None:
    heldout = shards([Sample("broken", {"jpg": b"?", "json": b"{}"})], name="heldout")
    with pytest.raises(CapivaraError, match="none of its 1 images can be read"):
        over([[a_noise("a", 1)]], against=str(heldout))


def test_what_cannot_be_used_fails_alone(shards: Shards) -> None:
    heldout = shards([a_noise("b", 2)], name="heldout")
    train = [Sample("broken", {"jpg": b"?", "json": b"{}"}), a_noise("x", 2), Sample("none", {"json": b"{}"})]
    train.append(Sample("list", {"jpg": jpeg(), "json": b"[]"}))
    env = over([train], against=str(heldout))[1]
    assert env.tally.failed == 3
    assert env.tally.dropped == {
        "image cannot be decoded: not an image": 1,
        "no image": 1,
        "json is not an object": 1,
        f"in {heldout}: same bytes": 1,
    }
    results, env = over([train], against=str(heldout), against_by="id,bytes")
    assert keys(results) == ["broken", "none"]  # what is compared by its bytes is not decoded


def test_the_other_side_is_read_once(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    heldout = shards([a_noise("b", 2)], name="heldout")
    asked, env = Options(against=str(heldout)), Env(Settings(quiet=True), "dedupe")
    assert list(dedupe.run(iter([a_noise("x", 2)]), asked, env)) == []
    next(heldout.glob("*.tar")).unlink()
    assert [each.key for each in dedupe.run(iter([a_noise("y", 2), a_noise("z", 4)]), asked, env)] == ["z"]
