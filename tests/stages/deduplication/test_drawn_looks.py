"""dedupe --images phash: different drawings on a plain background stay, although their hashes are near."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import variants
from support.deduping import cut, encoded, keys, over, photos
from support.drawings import KINDS, drawings
from support.made import a_sample

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.deduplication import images as stage_images
from capivara_cli.stages.deduplication.drawn_looks import LookFile, Looks, difference, key, look
from capivara_cli.stages.deduplication.first_of_near import first_of_near
from capivara_cli.stages.deduplication.hamming import HashSpace, distance
from capivara_cli.stages.deduplication.image_hash import perceptual_hash

EACH = 12


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def facts(images: Sequence[Image.Image]) -> tuple[np.ndarray, list[bytes | None]]:
    grey = [image.convert("L") for image in images]
    return np.array([perceptual_hash(each) or 0 for each in grey], np.uint64), [look(each) for each in grey]


def near_pairs(images: Sequence[Image.Image]) -> tuple[int, int]:
    """How many pairs are near by the hash alone, and by hash and look."""
    hashes, looks = facts(images)
    one, other = np.triu_indices(len(images), 1)
    near = distance(hashes[one], hashes[other]) <= 4
    seen = Looks.of(looks)
    return int(near.sum()), int((near & seen.agree(one, other, seen)).sum())


def found(images: Sequence[Image.Image], change: Callable[[Image.Image], bytes]) -> tuple[float, float]:
    """The share of changed copies that are found by the hash alone, and by hash and look."""
    hashes, looks = facts(images)
    after, seen = facts([opened(change(image)) for image in images])
    near, place = distance(hashes, after) <= 4, np.arange(len(images))
    return float(near.mean()), float((near & Looks.of(looks).agree(place, place, Looks.of(seen))).mean())


# --- what stays and what goes ---
@pytest.mark.parametrize("kind", variants.some([*KINDS], 5))
def test_different_drawings_stay(kind: str) -> None:
    samples = [a_sample(f"{number:02d}", image=encoded(image)) for number, image in enumerate(drawings(kind, EACH))]
    results, env = over([samples[:5], samples[5:]], images="phash")
    assert keys(results) == [sample.key for sample in samples]
    assert env.tally.dropped == {}


def test_hundreds_of_pairs_of_drawings_that_one_hash_cannot_tell_apart() -> None:
    counts = [near_pairs(drawings(kind, EACH)) for kind in KINDS]
    by_hash, by_look = (sum(each) for each in zip(*counts, strict=True))
    assert by_hash > 200  # of 660
    assert by_look == 0


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        (lambda image: encoded(image), 0.9),
        (lambda image: encoded(image, 60), 0.8),
        (lambda image: encoded(image.resize((image.width * 2, image.height * 2))), 0.75),
        (lambda image: encoded(half(image)), 0.55),
    ],
    ids=["recompressed", "quality 60", "doubled", "halved"],
)
def test_copies_of_drawings_are_found(change: Callable[[Image.Image], bytes], rate: float) -> None:
    rates = [found(drawings(kind, 3), change)[1] for kind in KINDS]
    assert float(np.mean(rates)) >= rate


PHOTO_CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "halved": lambda image: encoded(half(image)),
    "quality 30": lambda image: encoded(image, 30),
    "cut 2 %": lambda image: encoded(cut(image, 0.02)),
    "cut 4 %": lambda image: encoded(cut(image, 0.04)),
    "lightened": lambda image: encoded(image.point([min(255, round(1.15 * level)) for level in range(256)] * 3)),
}


@pytest.mark.parametrize("change", variants.some([*PHOTO_CHANGES], 2))
def test_changed_photos_are_found_as_by_the_hash_alone(change: str) -> None:
    by_hash, by_look = found(list(photos().values()), PHOTO_CHANGES[change])
    assert by_look == by_hash >= {"cut 4 %": 0.68}.get(change, 0.95)


def test_many_copies_of_two_signs_leave_the_two() -> None:
    one, other = drawings("sign", 2)
    copies = [encoded(image, quality) for quality in (70, 80, 85, 94) for image in (one, other, half(one))]
    samples = [a_sample(f"{number:03d}", image=image) for number, image in enumerate(copies)]
    for shards in ([samples], [samples[:1], samples[1:7], samples[7:]]):
        assert keys(over(shards, images="phash")[0]) == ["000", "001"]
    assert keys(over([samples], images="phash", keep="best")[0]) == ["000", "001"]
    same = [a_sample(f"{number:02d}", image=copies[number % 2]) for number in range(20)]
    for radius in (0, 4):
        assert keys(over([same], images="phash", radius=radius)[0]) == ["00", "01"]


def test_a_photo_beside_drawings_is_judged_by_its_hash() -> None:
    """One of the two has no look: as before."""
    none = Looks.of([None, look(drawings("sign", 1)[0].convert("L"))])
    assert none.agree(np.array([0, 0, 1]), np.array([0, 1, 1]), none).tolist() == [True, True, True]


# --- other sets, shards, workers ---
def test_against_removes_the_copy_and_leaves_the_other_word(shards: Callable[..., Path]) -> None:
    words = drawings("white on black", 3)
    heldout = shards([a_sample("x", image=encoded(words[0])), a_sample("y", image=encoded(words[1]))], name="heldout")
    train = [a_sample("copy", image=encoded(words[0], 70)), a_sample("other", image=encoded(words[2]))]
    for images in ("keep", "exact", "phash"):
        for batch_size in (1, 64):
            results, env = over([train], against=str(heldout), images=images, batch_size=batch_size)
            assert keys(results) == ["other"]
            assert env.tally.dropped == {f"in {heldout}: near perceptual hash": 1}


def test_two_workers_and_a_stream_keep_the_same(shards: Callable[..., Path], tmp_path: Path) -> None:
    images = [*drawings("form", 4), *drawings("icon", 3)]
    samples = [a_sample(f"{number:02d}", image=encoded(image)) for number, image in enumerate([*images, *images])]
    samples = [Sample(each.key, each.members) for each in samples]
    source = shards(samples[:6], samples[6:9], samples[9:])
    made = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        settings = Settings(out=str(out), quiet=True, energy=False, workers=workers)
        report = engine.run(parse_plan("dedupe --images phash"), [str(source)], settings, None)
        assert report.summary()["dropped"] == {"near-duplicate image (phash)": 7}
        made.append([path.read_bytes() for path in sorted(out.glob("*.tar"))])
    assert made[0] == made[1]
    assert keys(over([samples], images="phash")[0]) == [f"{number:02d}" for number in range(7)]


def test_a_run_that_stopped_before_the_decision_ends_as_a_clean_one(
    shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks are read again from the surveys of the stopped run."""
    images = drawings("table with one other number", 4)
    samples = [a_sample(f"{number:02d}", image=encoded(image)) for number, image in enumerate([*images, *images])]
    source = shards(samples[:3], samples[3:])
    plan = parse_plan("dedupe --images phash")

    def run(out: Path) -> list[bytes]:
        engine.run(plan, [str(source)], Settings(out=str(out), quiet=True, energy=False), None)
        return [path.read_bytes() for path in sorted(out.glob("*.tar"))]

    def stop(*given: object) -> None:
        raise CapivaraError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(stage_images, "decide", stop)
        with pytest.raises(CapivaraError, match="stopped"):
            run(tmp_path / "resumed")
    assert list((tmp_path / "resumed").rglob(".corpus-1*"))
    with monkeypatch.context() as patched:
        patched.setattr(stage_images, "survey", stop)  # not called again
        resumed = run(tmp_path / "resumed")
    assert resumed == run(tmp_path / "clean")
    assert sum(data.count(b".json") for data in resumed) >= 4


# --- its parts ---
def test_photos_have_no_look() -> None:
    looks = [look(image.convert("L")) for image in itertools.islice(photos().values(), 60)]
    assert sum(each is not None and each[0] >= 66 for each in looks) == 0


def test_a_difference_is_that_of_the_worst_block_and_a_pixel_of_shift_is_none() -> None:
    blank = np.zeros((1, 128, 128), np.uint8)
    dot, moved, far = blank.copy(), blank.copy(), blank.copy()
    dot[0, 61:65, 61:65], moved[0, 62:66, 60:64], far[0, 70:74, 61:65] = 255, 255, 255
    assert difference(dot, dot).tolist() == difference(dot, moved).tolist() == [0.0]
    assert difference(dot, moved, shift=0)[0] > 0.4
    assert difference(dot, blank)[0] == difference(dot, far)[0] > 0.4


def test_looks_in_a_file_are_those_in_memory() -> None:
    stored = [look(image.convert("L")) or b"" for image in drawings("form", 3)]
    file = LookFile(io.BytesIO())
    file.add([b"", stored[0], stored[1]])
    file.add([])
    file.add([stored[2], b""])
    assert [file.read(image) for image in range(5)] == [b"", *stored, b""]
    assert file.keys == [key(None), *map(key, stored), 0] and len(set(file.keys)) == 4
    seen = Looks(file.heads, file.read)
    one, other = (each.ravel() for each in np.indices((5, 5)))
    expected = Looks.of([None, *stored, None])
    assert seen.agree(one, other, seen).tolist() == expected.agree(one, other, expected).tolist()


def test_large_and_small_sets_are_judged_alike() -> None:
    """Sorted by bands or compared one by one: the looks decide in both."""
    hashes, looks = facts(drawings("screenshot", 4))
    chance = np.random.default_rng(0)
    others = chance.integers(0, 2**64, 5000, dtype=np.uint64)
    assert len(np.unique(hashes)) < 4 or distance(hashes[:, None], hashes[None, :]).max() <= 4
    for rest in (others[:3], others):
        every = np.concatenate([hashes, rest, hashes])
        seen = Looks.of([*looks, *[None] * len(rest), *looks])
        stays = first_of_near(HashSpace(every, 4, seen))
        assert stays.tolist() == [True] * (4 + len(rest)) + [False] * 4
