"""dedupe --images: of near-duplicates over all shards one stays."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import variants
from support.deduping import a_noise, encoded, keys, noise, over, photos
from support.made import a_sample, jpeg, shard_bytes

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.embedding import TowerIdentity, with_embedding
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.dedupe import CORPUS, Options, dedupe
from capivara_cli.stages.deduplication import clusters


def test_changed_photos_go_from_the_shards() -> None:
    images = dict(itertools.islice(photos().items(), 12))
    originals = [a_sample(key, image=encoded(image)) for key, image in images.items()]
    small = [
        a_sample(f"{key}-small", image=encoded(image.resize((image.width // 2, image.height // 2))))
        for key, image in images.items()
    ]
    results, env = over([originals, small], images="phash")
    assert keys(results) == list(images)
    assert env.tally.dropped == {"near-duplicate image (phash)": 12}
    assert keys(over([small, originals], images="phash")[0]) == [f"{key}-small" for key in images]
    assert keys(over([small, originals], images="phash", keep="best")[0]) == list(images)
    assert len(keys(over([originals, small], images="exact")[0])) == 24


def test_the_same_bytes_once_over_all_shards() -> None:
    shards = [[a_noise("a", 1), a_noise("b", 2)], [], [a_noise("c", 1), a_noise("d", 3)], [a_noise("e", 2)]]
    results, env = over(shards, images="exact")
    assert [[sample.key for sample in shard] for shard in results] == [["a", "b"], [], ["d"], []]
    assert env.tally.dropped == {"same image as another": 2}
    assert env.tally.failed == 0


def test_nothing_at_all() -> None:
    for images in ("exact", "phash", "embedding"):
        assert over([], images=images, model="toy")[0] == []
        assert over([[], []], images=images, model="toy")[0] == [[], []]


@pytest.mark.parametrize("images", ["exact", "phash", "embedding"])
@pytest.mark.parametrize("keep", ["first", "best"])
def test_how_samples_lie_in_shards_does_not_matter(images: str, keep: str) -> None:
    samples = [a_noise(f"{n:02d}", n % 7, (64 + 8 * (n % 2), 48), score=(n * 5 % 11) / 10) for n in range(21)]
    options: dict[str, Any] = {"images": images, "keep": keep, "model": "toy"}
    expected = keys(over([samples], **options)[0])
    assert 0 < len(expected) < len(samples)
    for cuts in ((7, 14), (1, 1, 20), (0, 3, 4, 5, 21)):
        ends = [0, *cuts, len(samples)]
        results, _ = over([samples[start:stop] for start, stop in itertools.pairwise(ends)], **options)
        assert keys(results) == expected


NINE = [a_noise(f"{n}", n % 3, score=n / 10) for n in range(9)]


@settings(max_examples=variants.number(10, 25), deadline=None)
@given(st.permutations(range(9)), st.lists(st.integers(0, 9), max_size=3))
def test_of_each_image_the_first_or_the_best_stays_in_any_order(order: list[int], cuts: list[int]) -> None:
    shuffled = [NINE[place] for place in order]
    ends = [0, *sorted(cuts), 9]
    shards = [shuffled[start:stop] for start, stop in itertools.pairwise(ends)]
    firsts = {n % 3: f"{n}" for n in reversed(order)}
    assert set(keys(over(shards, images="exact")[0])) == set(firsts.values())
    assert set(keys(over(shards, images="exact", keep="best")[0])) == {"6", "7", "8"}


def test_the_best_has_the_best_caption_then_most_pixels_then_comes_first() -> None:
    def best(*copies: tuple[str, tuple[int, int], float | None]) -> str:
        shards = [[a_noise(key, 5, size, score)] for key, size, score in copies]
        return "".join(keys(over(shards, images="phash", keep="best")[0]))

    assert best(("a", (64, 48), 0.1), ("b", (64, 48), 0.3), ("c", (128, 96), 0.2)) == "b"
    assert best(("a", (64, 48), None), ("b", (64, 48), -0.5)) == "b"
    assert best(("a", (64, 48), 0.2), ("b", (128, 96), 0.2), ("c", (64, 48), 0.2)) == "b"
    assert best(("a", (64, 48), 0.2), ("b", (64, 48), 0.2)) == "a"


@pytest.mark.parametrize("images", ["exact", "phash", "embedding"])
def test_a_second_run_drops_nothing(images: str) -> None:
    shards = [[a_noise(f"{n}-{m}", (n * m) % 9) for m in range(6)] for n in range(4)]
    once, _ = over(shards, images=images, model="toy")
    twice, env = over(once, images=images, model="toy")
    assert twice == once
    assert env.tally.dropped == {}


def test_of_a_chain_both_ends_stay() -> None:
    """a is near b and b near c, but c is not near a: it is not lost with b."""
    rows = [[1, 0], [np.cos(0.2), np.sin(0.2)], [np.cos(0.4), np.sin(0.4)]]
    identity, dim = toy_identity()
    samples = []
    for key, row in zip("abc", rows, strict=True):
        vector = np.zeros(dim, np.float16)
        vector[:2] = row
        samples.append(with_embedding(a_noise(key, ord(key)), vector, identity))
    assert keys(over([samples], images="embedding", model="toy")[0]) == ["a", "c"]
    assert keys(over([samples], images="embedding", model="toy", similarity=0.99)[0]) == ["a", "b", "c"]
    assert keys(over([samples[1:], samples[:1]], images="embedding", model="toy")[0]) == ["b"]


def toy_identity() -> tuple[TowerIdentity, int]:
    from capivara_cli.models.clip import load_clip

    clip = load_clip("toy")
    return clip.identity, clip.dim


def test_embeddings_are_made_where_they_are_missing_and_kept() -> None:
    identity, dim = toy_identity()
    stored = with_embedding(
        Sample("stored", {"jpg": b"never decoded", "json": b"{}"}), np.ones(dim, np.float16), identity
    )
    results, env = over([[a_noise("new", 1), stored]], images="embedding", model="toy")
    new, old = results[0]
    assert old == stored
    assert new.document["clip"] == identity.to_json()
    assert np.load(io.BytesIO(new.members["clip.npy"])).shape == (dim,)
    assert env.tally.dropped == {}


@pytest.mark.parametrize("keep", ["first", "best"])
def test_clusters_on_request(capsys: pytest.CaptureFixture[str], keep: str) -> None:
    samples = [a_noise(f"{n:02d}", n % 10, score=n * 7 % 31 / 31) for n in range(30)]
    options: dict[str, Any] = {"images": "embedding", "model": "toy", "keep": keep, "similarity": 0.999}
    plain = keys(over([samples], **options)[0])
    assert len(plain) == 10
    assert keys(over([samples[:11], samples[11:]], **options, clusters=3)[0]) == plain
    assert keys(over([samples[:11], samples[11:]], **options, clusters=9)[0]) == plain
    said = "30 embeddings in 3 clusters; each is compared within its nearest 3 only, and pairs across others are missed"
    assert said in capsys.readouterr().err


def test_many_embeddings_are_clustered_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "LARGE", 20)
    asked: list[int] = []
    real = clusters.centres
    monkeypatch.setattr(clusters, "centres", lambda *given: asked.append(given[1]) or real(*given))
    over([[a_noise(f"{n:02d}", n) for n in range(20)]], images="embedding", model="toy")
    assert asked == []
    over([[a_noise(f"{n:02d}", n) for n in range(25)]], images="embedding", model="toy")
    assert asked == [10]


BROKEN = [
    Sample("no-image", {"json": b"{}"}),
    Sample("no-jpeg", {"jpg": b"\xff\xd8\xff nothing", "json": b"{}"}),
    Sample("zero", {"jpg": b"", "json": b"{}"}),
    Sample("list", {"jpg": jpeg(), "json": b"[]"}),
    Sample("captions", {"jpg": jpeg(), "json": b'{"captions": ["x"]}'}),
]


@pytest.mark.parametrize("images", ["phash", "embedding"])
def test_what_cannot_be_used_fails_alone_as_for_filter(images: str) -> None:
    results, env = over([[a_noise("a", 1), *BROKEN], [a_noise("b", 2)]], images=images, model="toy")
    assert keys(results) == ["a", "b"]
    assert env.tally.failed == 5
    assert env.tally.dropped == {
        "no image": 1,
        "image cannot be decoded: damaged header": 1,
        "image has zero bytes": 1,
        "json is not an object": 1,
        'json "captions" is not a list of {"text", "lang", "by", "of", "score"}': 1,
    }


def test_exact_compares_bytes_and_decodes_nothing() -> None:
    results, env = over([[*BROKEN, a_sample("again", image=b"\xff\xd8\xff nothing")]], images="exact")
    assert keys(results) == ["no-image", "no-jpeg", "zero"]
    assert env.tally.failed == 2
    assert env.tally.dropped["same image as another"] == 1


def test_flat_images_are_not_taken_for_each_other() -> None:
    red, blue = jpeg((200, 30, 30)), jpeg((30, 30, 200))
    results, env = over([[a_sample("red", image=red), a_sample("blue", image=blue)]], images="phash")
    assert keys(results) == ["red", "blue"]
    assert env.tally.notes == {"images too flat for a perceptual hash": 2}


def test_captions_are_thinned_too_unless_they_are_to_be_kept() -> None:
    same = [Caption("a red cat", "en", "alt"), Caption("A red cat", "en", "alt")]
    sample = a_sample("k", *same, image=noise(1))
    for images in ("keep", "exact"):
        assert over([[sample]], images=images)[0][0][0].captions == same[:1]
        assert over([[sample]], images=images, captions="keep")[0] == [[sample]]


def test_rejects_get_the_reason() -> None:
    asked, env = Options(images="exact"), Env(Settings(), "dedupe")
    samples = [a_noise("a", 1), a_noise("b", 1)]
    survey = CORPUS.survey(iter(samples), asked, env)
    (decision,) = CORPUS.decide([lambda: survey], asked, env)
    rejected: list[tuple[str, str]] = []
    env.reject = lambda sample, reason: rejected.append((sample.key, reason))
    list(CORPUS.apply(iter(samples), survey, decision, asked, env))
    assert rejected == [("b", "same image as another")]


def test_one_pass_is_refused() -> None:
    with pytest.raises(RuntimeError, match="over all shards"):
        list(dedupe.run(iter([]), Options(images="phash"), Env(Settings(), "dedupe")))


def test_radius_zero_is_the_same_hash(tmp_path: Path) -> None:
    shards = [[a_noise("a", 1), a_noise("b", 1, (128, 96)), a_noise("c", 2)]]
    assert keys(over(shards, images="phash", radius=0)[0]) == ["a", "c"]


def test_a_stream_and_a_folder_lose_the_same(shards: Callable[..., Path], tmp_path: Path) -> None:
    def samples_in(*paths: Path) -> list[Sample]:
        found: list[Sample] = []
        for path in paths:
            with open_shard(str(path)) as reader:
                found += reader
        return found

    samples = [a_noise(f"{n:02d}", n % 5, (64 + 8 * (n % 2), 48)) for n in range(12)]
    source = shards(samples[:5], [], samples[5:])
    plan = "split --fraction 0 | dedupe --images phash | dedupe --images exact --captions keep"
    out = tmp_path / "done"
    report = engine.run(parse_plan(plan), [str(source)], Settings(out=str(out), quiet=True, energy=False), None)
    left = samples_in(*sorted(out.glob("*.tar")))
    assert [sample.key for sample in left] == ["00", "01", "02", "03", "04"]
    assert report.summary()["dropped"] == {"near-duplicate image (phash)": 7}
    whole = tmp_path / "whole.tar"
    whole.write_bytes(shard_bytes(samples))
    stream = io.BytesIO()
    engine.run(parse_plan(plan), [str(whole)], Settings(quiet=True, energy=False), stream)
    (tmp_path / "stream.tar").write_bytes(stream.getvalue())
    assert samples_in(tmp_path / "stream.tar") == left
