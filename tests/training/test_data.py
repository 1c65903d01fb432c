"""The feature store and what is drawn from it: embeddings of other towers are not taken, batches are as promised."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from support.stores import data_of, store_of
from support.tiny import pairs

from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.source import Source
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.storage.arrays import DamagedArrays
from capivara_cli.training.data import Batches, CaptionPool, TrainingData, select
from capivara_cli.training.options import CaptionChoice, Loss
from capivara_cli.training.store import FeatureStore, FingerprintedSamples, features, open_store


@pytest.fixture(scope="module")
def clip(tiny: Path) -> Clip:
    return load_clip(f"local-dir:{tiny}")


@dataclass
class Listed:
    """Samples as a source that is no file."""

    samples: list[Sample]
    shards: tuple[str, ...] = ("-",)
    history: tuple = ()

    def total(self) -> None:
        """The number of samples is not known."""

    def __iter__(self) -> Any:
        return iter(self.samples)


@pytest.fixture
def read(clip: Clip, tmp_path: Path) -> Callable[..., tuple[FeatureStore, Env]]:
    def read_samples(samples: list[Sample], **kind: Any) -> tuple[FeatureStore, Env]:
        env = Env(Settings(), "train")
        return features(Listed(samples), clip, tmp_path / "features", env, **kind), env

    return read_samples


def npy(vector: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, vector)
    return out.getvalue()


def test_images_are_embedded_where_nothing_is_stored(clip: Clip, read: Callable) -> None:
    samples = pairs(5)
    store, env = read(samples)
    expected = clip.embed_images([clip.preprocess(decode_image(sample)) for sample in samples])
    np.testing.assert_array_equal(store.images[:, 0], expected.astype(np.float16))
    assert env.tally.notes == {"images embedded here": 5}
    assert [store.key(image) for image in range(5)] == [sample.key for sample in samples]
    assert store.text(0) == samples[0].captions[0].text
    rows = clip.tokenize([caption.text for sample in samples for caption in sample.captions])
    for ours, theirs in zip(store.rows(np.arange(len(rows))), rows, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    data = select(store, ["pt"], ["en"])
    assert data.captions == {"en": 7, "pt": 7}
    assert data.authors == {("en", "alt"): 7, ("pt", "alt"): 7}


def test_a_stored_embedding_is_used_if_this_tower_made_it_and_it_is_a_vector(clip: Clip, read: Callable) -> None:
    """The stored vector is a marker here: it comes back only if the image was not looked at."""
    marker = np.full(16, 0.25, np.float16)
    good, other, unfit, torn = pairs(4)
    own = clip.identity.to_json()
    stored = [
        good.with_document(clip=own).with_members(**{"clip.npy": npy(marker)}),
        other.with_document(clip={**own, "weights": "sha256:0"}).with_members(**{"clip.npy": npy(marker)}),
        unfit.with_document(clip=own).with_members(**{"clip.npy": npy(marker[:8])}),
        torn.with_document(clip=own).with_members(**{"clip.npy": npy(marker)[:-3]}),
    ]
    store, env = read(stored)
    np.testing.assert_array_equal(store.images[0, 0], marker)
    computed = clip.embed_images([clip.preprocess(decode_image(sample)) for sample in (other, unfit, torn)])
    np.testing.assert_array_equal(store.images[1:, 0], computed.astype(np.float16))
    assert env.tally.notes == {"images embedded here": 3}


def test_what_cannot_be_used_is_counted(read: Callable) -> None:
    first, broken, silent, foreign, empty, last = pairs(6)
    samples = [
        first,
        broken.with_members(png=b"not an image"),
        Sample("silent", {"png": silent.image}),
        foreign.with_captions([Caption("ein Hund", "de", "alt")]),
        empty.with_captions([Caption("  ", "pt", "alt")]),
        Sample("torn", {**last.members, "json": b"{"}),
        last.with_captions([Caption("um gato", "pt-BR", "alt")]),
    ]
    store, env = read(samples)
    assert len(store) == 3
    assert env.tally.dropped == {
        "image cannot be decoded: not an image": 1,
        "no captions": 2,
        "json cannot be parsed": 1,
    }
    assert env.tally.failed == 2
    data = select(store, ["pt"], ["en"])
    assert data.captions == {"en": 1, "pt": 2}  # pt-BR is pt
    assert (data.samples, data.n_unused) == (2, 1)


def test_a_language_that_is_not_there_lists_those_that_are(read: Callable) -> None:
    with pytest.raises(CapivaraError) as caught:
        select(read(pairs(3, "en pt"))[0], ["xh"])
    assert caught.value.message == "no captions in xh; there are en (4), pt (4)"
    assert "capivara translate shards/ --lang xh | capivara train --lang xh" in caught.value.hint
    with pytest.raises(CapivaraError) as caught:
        select(read([Sample("a", {"png": pairs(1)[0].image})])[0], ["xh"])
    assert caught.value.message == "no captions in xh; there are none in any language"
    assert "capivara caption shards/ | capivara translate --lang xh" in caught.value.hint


def test_long_captions_are_cut_and_counted(read: Callable) -> None:
    sample = pairs(1)[0].with_captions([Caption("gato " * 10_000, "pt", "alt")])
    store, env = read([sample])
    assert list(np.diff(store.bounds)) == [77]
    assert env.tally.notes["captions that fill all 77 tokens, longer ones cut"] == 1


def test_a_caption_knows_what_it_was_translated_from(read: Callable) -> None:
    """Through rewrites of translations, to texts that are captions no more; a rewrite in its own language has none."""
    sample = pairs(1)[0].with_captions(
        [
            Caption("a dog", "en", "alt"),
            Caption("the dog", "en", "rewrite:eda", of="a dog"),
            Caption("um cachorro", "pt", "argos:en-pt", of="a dog"),
            Caption("o cachorro", "pt", "rewrite:eda", of="um cachorro"),
            Caption("um gato", "pt", "argos:en-pt", of="a cat"),
            Caption("o gato", "pt-BR", "rewrite:eda", of="um gato azul"),
        ]
    )
    store, _ = read([sample])
    assert list(store.source) == [-1, -1, 0, 0, 6, -1, -1]
    assert store.text(6) == "a cat" and store.languages[store.lang[6]] == ""
    assert select(store, ["pt"], ["en"]).captions == {"en": 2, "pt": 4}


def test_the_store_is_found_again_and_tells_its_books(
    clip: Clip, shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = pairs(4)
    folder = shards([*samples[:2], samples[2].with_members(png=b"x")], [samples[3]])

    def opened() -> tuple[FeatureStore, Env]:
        env = Env(Settings(), "train")
        return features(Source([str(folder)], env), clip, tmp_path / "features", env), env

    first, before = opened()
    monkeypatch.setattr(Source, "__iter__", lambda self: pytest.fail("read again"))
    again, after = opened()
    assert again.folder == first.folder and again.fingerprint == first.fingerprint
    assert (after.tally.read, after.tally.dropped, after.tally.failed) == (4, before.tally.dropped, 1)
    assert after.tally.notes == {}  # nothing was embedded this time
    monkeypatch.undo()
    (folder / "00001.tar").touch()
    assert opened()[0].folder != first.folder  # changed, perhaps
    (first.folder / "tokens").write_bytes(b"")
    with pytest.raises(DamagedArrays):
        open_store(first.folder)  # cut
    document = json.loads((again.folder / "store.json").read_text())
    assert document["history"] == []


def test_a_reading_that_fails_leaves_nothing(clip: Clip, shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(pairs(4), pairs(4, seed=1))
    shard = folder / "00001.tar"
    shard.write_bytes(shard.read_bytes()[:-2000])
    env = Env(Settings(), "train")
    with pytest.raises(CapivaraError):
        features(Source([str(folder)], env), clip, tmp_path / "features", env)
    assert list((tmp_path / "features").iterdir()) == []


def test_views_are_drawn_once_and_differ(clip: Clip, read: Callable) -> None:
    samples = pairs(3)
    marker = npy(np.full(16, 0.25, np.float16))
    marked = [each.with_document(clip=clip.identity.to_json()).with_members(**{"clip.npy": marker}) for each in samples]
    store, env = read(marked, views=4)
    assert store.images.shape == (3, 4, 16)
    assert env.tally.notes == {"images embedded here": 3}  # the stored vector is of the image as it is
    assert len(np.unique(store.images.reshape(12, 16), axis=0)) == 12
    again, _ = read(marked, views=4)
    np.testing.assert_array_equal(again.images, store.images)
    used = {int(view) for step in range(9) for view in Batches(all_of(store), 3, 0, 0).draw(step).views}
    assert used == {0, 1, 2, 3}


def all_of(store: FeatureStore) -> TrainingData:
    return select(store, ["pt"], ["en"])


def test_pixels_are_kept_exactly(clip: Clip, read: Callable) -> None:
    samples = pairs(3)
    store, env = read(samples, pixels=True)
    assert store.pixels.shape == (3, 3, 32, 32) and "images embedded here" not in env.tally.notes
    expected = clip.preprocess(decode_image(samples[1]))
    np.testing.assert_array_equal(store.pixels[1], expected.numpy())


def test_the_fingerprint_is_of_keys_captions_and_pixels() -> None:
    def fingerprint(samples: list[Sample]) -> str:
        watched = FingerprintedSamples(samples)
        assert list(watched) == samples
        return watched.fingerprint

    samples = pairs(3)
    changed = [
        samples[:2],
        samples[::-1],
        [*samples[:2], samples[2].with_members(png=b"x")],
        [*samples[:2], samples[2].with_captions([])],
        [*samples[:2], Sample("other", samples[2].members)],
    ]
    assert fingerprint(samples) == fingerprint(pairs(3))
    assert len({fingerprint(each) for each in [samples, *changed]}) == 6


def test_a_batch_has_its_share_and_no_image_twice() -> None:
    data = data_of([2] * 50, [1] * 50)
    batches = Batches(data, 20, 0.2, seed=0)
    assert (batches.size, batches.target_size, batches.kept_size) == (20, 16, 4)
    for step in range(20):
        batch = batches.draw(step)
        assert batch.kept == 4 and batch.captions.shape == (1, 20)
        np.testing.assert_array_equal(data.store.owners(batch.captions[0]), batch.images)
        assert len(set(batch.images.tolist())) == 20
        assert data.store.lang[batch.captions[0]].tolist() == [0] * 16 + [1] * 4


def test_images_are_visited_without_repetition_and_captions_uniformly() -> None:
    batches = Batches(data_of([4] * 30, [0] * 30), 10, 0.2, seed=1)
    assert (batches.target_size, batches.kept_size) == (10, 0)
    for epoch in range(3):
        visited = [int(image) for step in range(3) for image in batches.draw(3 * epoch + step).images]
        assert sorted(visited) == list(range(30))
    drawn = Counter(int(caption) % 4 for step in range(300) for caption in batches.draw(step).captions[0])
    assert chisquare([drawn[number] for number in range(4)]).pvalue > 0.001


def test_weights_are_shares_of_the_draws() -> None:
    """Three authors with weights 3, 1 and 0: the last is never drawn, the others 3 to 1."""
    store = store_of([[3, 0]] * 20, ["human", "argos:en-pt", "blip"] * 20)
    data = select(store, ["pt"], choice=CaptionChoice(text_weights="human=3,argos=1,bl*=0"))
    batches = Batches(data, 10, 0, seed=3)
    drawn = Counter(int(caption) % 3 for step in range(300) for caption in batches.draw(step).captions[0])
    assert drawn[2] == 0
    assert chisquare([drawn[0], drawn[1]], [2250, 750]).pvalue > 0.001
    with pytest.raises(CapivaraError, match="no captions by 'bard'"):
        select(store, ["pt"], choice=CaptionChoice(text_weights="bard=1"))


def test_every_version_is_every_caption_of_an_image() -> None:
    batches = Batches(data_of([3, 2, 1], [0, 0, 0]), 3, 0, seed=0, every_version=True)
    batch = batches.draw(0)
    assert batch.captions.shape == (3, 3)
    columns = {int(image): batch.captions[:, place].tolist() for place, image in enumerate(batch.images)}
    assert columns == {0: [0, 1, 2], 1: [3, 4, 3], 2: [5, 5, 5]}


def test_shots_and_validation_never_meet() -> None:
    store = store_of([[2, 1]] * 100)
    few = select(store, ["pt"], ["en"], CaptionChoice(shots=10), heldout=20)
    trained, tested = set(few.target.images), set(few.heldout["pt"].images)
    assert (len(trained), len(tested)) == (10, 20) and not trained & tested
    assert set(few.kept.images) == trained
    again = select(store, ["pt"], ["en"], CaptionChoice(shots=10), heldout=20)
    assert set(again.target.images) == trained
    other = select(store, ["pt"], ["en"], CaptionChoice(shots=10, split_seed=43), heldout=20)
    assert set(other.target.images) != trained
    part = select(store, ["pt"], ["en"], heldout=0.1)
    assert len(part.target.images) == 90 and len(part.heldout["pt"].images) == 10
    assert not set(part.heldout["pt"].images) & (set(part.target.images) | set(part.kept.images))
    with pytest.raises(CapivaraError, match="only 80 images to train on"):
        select(store, ["pt"], choice=CaptionChoice(shots=90), heldout=20)
    with pytest.raises(CapivaraError, match=r"--val 0\.001: 0 of 100 images"):
        select(store, ["pt"], heldout=0.001)


HUMAN_EN, HUMAN_PT, PT_OF_EN, EN_OF_PT = range(4)


def routine_store() -> FeatureStore:
    """Per image: English and Portuguese by people, and each translated into the other."""
    store = store_of([[0, 0]] * 8)
    first = np.arange(9) * 4
    source = np.tile([-1, -1, 0, 1], 8) + np.repeat(first[:-1], 4) * np.tile([0, 0, 1, 1], 8)
    lang = np.tile([1, 0, 0, 1], 8).astype(np.uint16)
    none = np.zeros(0, np.int64)
    return FeatureStore(
        store.folder, store.document, store.images, store.present, first, np.arange(32, dtype=np.int32),
        np.arange(33), lang, np.zeros(32, np.uint16), source, none, none, none, none, none,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("align", "texts", "anchors"),
    [
        ("native", {HUMAN_PT, PT_OF_EN}, {HUMAN_EN}),  # routine 1: in the language, and English
        ("mt-source", {HUMAN_PT}, {PT_OF_EN}),  # routine 2: in the language, and English translated into it
        ("mt-pivot", {EN_OF_PT}, {HUMAN_EN}),  # routine 3: translated into English, and English
    ],
)
def test_which_texts_meet_in_each_routine(align: str, texts: set[int], anchors: set[int]) -> None:
    """The truth table of arXiv 2305.03510, section 3."""
    data = select(routine_store(), ["pt"], loss=Loss(align=align))
    batches = Batches(data, 8, 0, seed=0)
    drawn = [batches.draw(step) for step in range(12)]
    assert {int(each) % 4 for batch in drawn for each in batch.captions.ravel()} == texts
    assert {int(each) % 4 for batch in drawn for each in batch.anchors.ravel()} == anchors
    for batch in drawn:
        np.testing.assert_array_equal(data.store.owners(batch.anchors[0]), batch.images)


def test_a_routine_without_its_texts_says_what_it_needs() -> None:
    store = store_of([[1, 1]] * 8)
    with pytest.raises(CapivaraError, match="mt-source needs captions written in pt, and others translated into it"):
        select(store, ["pt"], loss=Loss(align="mt-source"))
    with pytest.raises(CapivaraError, match="mt-pivot needs captions translated from pt"):
        select(store, ["pt"], loss=Loss(align="mt-pivot"))
    with pytest.raises(CapivaraError, match="no image with a caption in pt has one in another language"):
        select(store_of([[1, 0]] * 8), ["pt"], loss=Loss(align="native"))


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    data = data_of([3] * 40, [2] * 40)

    def drawn(seed: int, steps: list[int]) -> list[list[int]]:
        batches = Batches(data, 16, 0.25, seed)
        return [batches.draw(step).captions[0].tolist() for step in steps]

    assert drawn(0, [7, 2]) == drawn(0, [2, 7])[::-1]
    assert drawn(0, [2]) != drawn(1, [2])
    assert drawn(0, [2]) != drawn(0, [3])


@pytest.mark.parametrize(
    ("target", "kept", "size", "expected"),
    [
        ([1] * 10, [1] * 10, 1000, (8, 2)),  # fewer images than the batch: all of them
        ([1] * 4 + [0] * 96, [1] * 100, 10, (4, 1)),  # little of the target language: the share stays
        ([1] * 10, [0] * 10, 10, (10, 0)),  # nothing to keep
        ([1] * 10 + [0] * 2, [0] * 10 + [1] * 2, 12, (10, 2)),  # captions of different images
    ],
)
def test_small_data_makes_small_batches(target: list[int], kept: list[int], size: int, expected: tuple) -> None:
    batches = Batches(data_of(target, kept), size, 0.2, seed=0)
    assert (batches.target_size, batches.kept_size) == expected
    batch = batches.draw(5)
    assert batch.captions.shape[1] == len(batch.images) == sum(expected)


def test_a_pool_picks_only_its_own() -> None:
    pool = CaptionPool(np.array([3, 5, 9]), np.array([0, 2, 2, 3]))
    assert pool.images.tolist() == [0, 2]
    assert pool.among(np.array([False, True, True])).ids.tolist() == [9]
