"""What is drawn from the captions: every epoch in its own order, patterns in their order, and exact bounds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from support.stores import data_of, store_of

from capivara_cli.errors import CapivaraError
from capivara_cli.training.data import Anchors, Batches, CaptionPool, select
from capivara_cli.training.options import CaptionChoice


def test_every_epoch_has_another_order() -> None:
    batches = Batches(data_of([1] * 40, [0] * 40), 40, 0, seed=0)
    orders = [tuple(batches.draw(epoch).images.tolist()) for epoch in range(4)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert tuple(Batches(batches.data, 40, 0, seed=0).draw(2).images.tolist()) == orders[2]
    assert tuple(Batches(batches.data, 40, 0, seed=1).draw(0).images.tolist()) != orders[0]


def test_images_that_do_not_fill_a_batch_come_in_another_epoch() -> None:
    """Of seven images in batches of three, each epoch leaves out one, and not always the same one."""
    batches = Batches(data_of([1] * 7, [0] * 7), 3, 0, seed=0)
    left = []
    for epoch in range(12):
        visited = [int(image) for step in (2 * epoch, 2 * epoch + 1) for image in batches.draw(step).images]
        assert len(set(visited)) == 6
        left += set(range(7)) - set(visited)
    assert len(set(left)) > 2


AUTHORS = ["argos:en-pt", "argos:es-pt", "argosnet", "human"]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("argos:en-pt=0,argos=1,*=2", [0.0, 1.0, 2.0, 2.0]),
        ("argos=0.5", [0.5, 0.5, 1.0, 1.0]),
        ("argos*=3,*=4", [3.0, 3.0, 3.0, 4.0]),
    ],
)
def test_of_patterns_that_overlap_the_first_counts(weights: str, expected: list[float]) -> None:
    """A name takes all authors of that kind, ``argos:en-pt`` for argos, but none that only begins alike."""
    data = select(store_of([[4, 0]] * 3, AUTHORS * 3), ["pt"], choice=CaptionChoice(text_weights=weights))
    assert data.target.weights is not None
    kept = dict(zip(data.target.ids.tolist(), data.target.weights.tolist(), strict=True))
    assert [kept.get(number, 0.0) for number in range(4)] == expected


def test_a_pattern_whose_captions_belong_to_an_earlier_one_is_refused() -> None:
    choice = CaptionChoice(text_weights="*=2,human=1")
    with pytest.raises(CapivaraError, match="--text-weights: no captions by 'human'"):
        select(store_of([[4, 0]] * 3, AUTHORS * 3), ["pt"], choice=choice)


def test_bounds_of_held_out_images_and_shots_are_allowed() -> None:
    """At least two are held out and two remain; as many shots as there are images to train on."""
    store = store_of([[1, 0]] * 10)
    for count, trained in ((2, 8), (8, 2)):
        data = select(store, ["pt"], heldout=count)
        assert (len(data.target.images), len(data.heldout["pt"].images)) == (trained, count)
    for count in (1.0, 9):
        with pytest.raises(CapivaraError, match=f"--val {count:g}: {count:g} of 10 images"):
            select(store, ["pt"], heldout=count)
    assert len(select(store, ["pt"], heldout=0.2).heldout["pt"].images) == 2
    assert len(select(store, ["pt"], choice=CaptionChoice(shots=10)).target.images) == 10
    assert len(select(store, ["pt"], choice=CaptionChoice(shots=8), heldout=2).target.images) == 8
    with pytest.raises(CapivaraError, match="--shots 9: only 8 images to train on"):
        select(store, ["pt"], choice=CaptionChoice(shots=9), heldout=2)
    assert len(select(store, ["pt"], heldout=0.0).target.images) == 10


def test_of_a_large_pool_images_to_keep_are_drawn_evenly_and_never_twice() -> None:
    """The pool is too large to be shuffled; the images of the batch are not among the others."""
    batches = Batches(data_of([1] * 8 + [0] * 192, [1] * 200), 10, 0.2, seed=0)
    assert (batches.target_size, batches.kept_size) == (8, 2)
    drawn: Counter[int] = Counter()
    for step in range(600):
        batch = batches.draw(step)
        others = batch.images[-batch.kept :].tolist()
        assert len({*batch.images.tolist()}) == 10 and len(others) == 2
        drawn.update(others)
    parts = np.add.reduceat([drawn[image] for image in range(8, 200)], range(0, 192, 24))
    assert not any(drawn[image] for image in range(8))
    assert chisquare(parts).pvalue > 0.001


def test_a_kept_share_is_a_share_of_the_whole_batch() -> None:
    for size, share, expected in ((10, 0.25, (8, 3)), (10, 0.5, (5, 5)), (1000, 0.15, (850, 150))):
        batches = Batches(data_of([1] * 2000, [1] * 2000), size, share, seed=0)
        assert (batches.target_size, batches.kept_size) == expected


def test_the_longest_captions_come_first() -> None:
    data = data_of([2, 1, 0], [0, 0, 1])
    data = replace(data, store=replace(data.store, bounds=np.array([0, 5, 7, 16, 20])))
    assert data.longest(3).tolist() == [2, 0, 3]


def test_numbers_of_images_are_those_with_a_usable_caption() -> None:
    data = data_of([1, 0, 2, 0, 0], [0, 1, 1, 0, 0])
    assert (data.samples, data.n_unused) == (3, 2)
    assert data.captions == {"pt": 3, "en": 2}


def test_a_caption_without_a_source_gets_an_anchor_of_its_own_image_or_none() -> None:
    anchors = Anchors(CaptionPool(np.array([20, 21]), np.array([0, 0, 2, 2])), np.array([7, -1, -1]))
    found = anchors.of(np.array([0, 1, 2]), np.array([0, 1, 2]), np.random.default_rng(0))
    assert found[0] == 7 and found[1] in (20, 21) and found[2] == -1
    assert Anchors(anchors.pool).of(np.array([0]), np.array([0]), np.random.default_rng(0)).tolist() == [-1]
    assert anchors.sources is not None and anchors.sources.tolist() == [7, -1, -1]  # as they were


def test_a_caption_of_the_first_text_has_it_as_its_anchor() -> None:
    """Number 0 is a caption, not "none"."""
    anchors = Anchors(CaptionPool(np.array([5]), np.array([0, 1])), np.array([-1, 0]))
    assert anchors.of(np.array([1]), np.array([0]), np.random.default_rng(0)).tolist() == [0]


def test_a_draw_that_is_rounded_up_stays_in_its_image() -> None:
    """1000 + 3 (1 - 2⁻⁵³) is 1003 in floating point: where the weights of the next image begin."""
    pool = CaptionPool(np.arange(5), np.array([0, 1, 4, 5]), np.array([1000.0, 1.0, 1.0, 1.0, 1.0]))
    highest: Any = SimpleNamespace(random=lambda count: np.full(count, 1 - 2.0**-53))
    assert 1000 + 3 * (1 - 2.0**-53) == 1003.0
    assert pool.pick(np.array([0, 1, 2]), highest).tolist() == [0, 3, 4]
    assert replace(pool, weights=None).pick(np.array([0, 1, 2]), highest).tolist() == [0, 3, 4]


def test_authors_that_are_offered_have_a_name() -> None:
    """A source text that is no caption any more has no author."""
    with pytest.raises(CapivaraError) as raised:
        select(store_of([[2, 0]] * 3, ["", "human"] * 3), ["pt"], choice=CaptionChoice(text_weights="bard=1"))
    assert raised.value.hint == "there are captions by human"


SPLIT = ([4, 7, 11], [6, 8, 9])
DRAWN = [([2, 7, 9, 4], [6, 21, 27, 14]), ([3, 11, 0, 5], [9, 34, 1, 17])]


def test_draws_are_those_of_earlier_versions() -> None:
    """A split and batches that a seed has chosen are the same in every version: runs are resumed and compared."""
    few = select(store_of([[1, 0]] * 12), ["pt"], choice=CaptionChoice(shots=3), heldout=3)
    assert (few.target.images.tolist(), few.heldout["pt"].images.tolist()) == SPLIT
    batches = Batches(data_of([2] * 12, [1] * 12), 4, 0.25, seed=3)
    assert [(batch.images.tolist(), batch.captions[0].tolist()) for batch in map(batches.draw, (0, 7))] == DRAWN
