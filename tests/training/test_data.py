"""What training reads: stored embeddings are trusted only if they are this tower's, and batches are as promised."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny import pairs

from capivara_cli.clip import Clip, load_clip
from capivara_cli.errors import CapivaraError
from capivara_cli.images import decode_image
from capivara_cli.sample import Caption, Sample
from capivara_cli.stage import Env, Settings
from capivara_cli.training.data import Batches, TextBank, TrainingData, Watched, read_data


@pytest.fixture(scope="module")
def clip(tiny: Path) -> Clip:
    return load_clip(f"local-dir:{tiny}")


def npy(vector: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, vector)
    return out.getvalue()


def read(samples: list[Sample], clip: Clip, lang: str = "pt", kept: str = "en") -> tuple[TrainingData, Env]:
    env = Env(Settings(), "train")
    return read_data(samples, clip, lang.split(), kept.split(), env), env


def test_images_are_embedded_where_nothing_is_stored(clip: Clip) -> None:
    samples = pairs(5)
    data, env = read(samples, clip)
    expected = clip.embed_images([clip.preprocess(decode_image(sample)) for sample in samples])
    np.testing.assert_array_equal(data.embeddings, expected.astype(np.float16))
    assert data.embeddings.dtype == np.float16
    assert env.tally.notes == {"images embedded here": 5}
    assert data.captions == {"en": 7, "pt": 7}
    assert data.authors == {("en", "alt"): 7, ("pt", "alt"): 7}


def test_a_stored_embedding_is_used_if_this_tower_made_it_and_it_is_a_vector(clip: Clip) -> None:
    """The stored vector is a marker here: it comes back only if the image was not looked at."""
    marker = np.full(16, 0.25, np.float16)
    good, other, unfit, torn = pairs(4)
    stored = [
        good.with_document(clip=clip.identity).with_members(**{"clip.npy": npy(marker)}),
        other.with_document(clip={**clip.identity, "weights": "sha256:0"}).with_members(**{"clip.npy": npy(marker)}),
        unfit.with_document(clip=clip.identity).with_members(**{"clip.npy": npy(marker[:8])}),
        torn.with_document(clip=clip.identity).with_members(**{"clip.npy": npy(marker)[:-3]}),
    ]
    data, env = read(stored, clip)
    np.testing.assert_array_equal(data.embeddings[0], marker)
    computed = clip.embed_images([clip.preprocess(decode_image(sample)) for sample in (other, unfit, torn)])
    np.testing.assert_array_equal(data.embeddings[1:], computed.astype(np.float16))
    assert env.tally.notes == {"images embedded here": 3}


def test_what_cannot_be_used_is_counted(clip: Clip) -> None:
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
    data, env = read(samples, clip)
    assert data.samples == 2
    assert env.tally.dropped == {
        "image cannot be decoded: not an image": 1,
        "no caption in pt, en": 3,
        "json cannot be parsed": 1,
    }
    assert env.tally.failed == 2
    assert data.captions == {"en": 1, "pt": 2}  # pt-BR is pt


def test_a_language_that_is_not_there_lists_those_that_are(clip: Clip) -> None:
    with pytest.raises(CapivaraError) as caught:
        read(pairs(3, "en pt"), clip, "xh")
    assert caught.value.message == "no caption in xh; the captions there are: en (4), pt (4)"
    assert "capivara translate shards/ --lang xh | capivara train --lang xh" in caught.value.hint
    with pytest.raises(CapivaraError) as caught:
        read([Sample("a", {"png": pairs(1)[0].image})], clip, "xh")
    assert caught.value.message == "no caption in xh; the captions there are: none in any language"
    assert "capivara caption shards/ | capivara translate --lang xh" in caught.value.hint


def test_long_captions_are_cut_and_counted(clip: Clip) -> None:
    sample = pairs(1)[0].with_captions([Caption("gato " * 10_000, "pt", "alt")])
    data, env = read([sample], clip)
    assert list(np.diff(data.target.bounds)) == [77]
    assert env.tally.notes["captions that fill all 77 tokens, longer ones cut"] == 1


def test_the_fingerprint_is_of_keys_captions_and_pixels() -> None:
    def fingerprint(samples: list[Sample]) -> str:
        watched = Watched(samples)
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


def data_of(target: list[int], kept: list[int]) -> TrainingData:
    """``target[i]`` and ``kept[i]`` captions of image i; caption tokens are (image, running number)."""

    def bank(counts: list[int], sign: int) -> TextBank:
        rows = [[sign * (image + 1), number] for image, count in enumerate(counts) for number in range(count)]
        first = np.cumsum([0, *counts])
        return TextBank(np.array(rows, np.int32).reshape(-1), np.arange(len(rows) + 1) * 2, first)

    embeddings = np.arange(len(target), dtype=np.float16).reshape(-1, 1)
    return TrainingData(embeddings, bank(target, 1), bank(kept, -1), Counter(), Counter(), "", 0)


def test_a_batch_has_its_share_and_no_image_twice() -> None:
    batches = Batches(data_of([2] * 50, [1] * 50), 20, 0.2, seed=0)
    assert (batches.size, batches.target_size, batches.kept_size) == (20, 16, 4)
    for step in range(20):
        embeddings, rows = batches.draw(step)
        images = [abs(int(row[0])) - 1 for row in rows]
        assert [int(value) for value in embeddings[:, 0]] == images  # every caption with its own image
        assert len(set(images)) == 20
        assert [int(row[0]) > 0 for row in rows] == [True] * 16 + [False] * 4


def test_images_are_visited_without_repetition_and_captions_uniformly() -> None:
    batches = Batches(data_of([4] * 30, [0] * 30), 10, 0.2, seed=1)
    assert (batches.target_size, batches.kept_size) == (10, 0)
    for epoch in range(3):
        visited = [int(value) for step in range(3) for value in batches.draw(3 * epoch + step)[0][:, 0]]
        assert sorted(visited) == list(range(30))
    numbers = Counter(int(row[1]) for step in range(300) for row in batches.draw(step)[1])
    assert all(650 < numbers[number] < 850 for number in range(4)), numbers


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    data = data_of([3] * 40, [2] * 40)

    def drawn(seed: int, steps: list[int]) -> list[list[list[int]]]:
        batches = Batches(data, 16, 0.25, seed)
        return [[row.tolist() for row in batches.draw(step)[1]] for step in steps]

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
    embeddings, rows = batches.draw(5)
    assert len(rows) == len(embeddings) == sum(expected)
