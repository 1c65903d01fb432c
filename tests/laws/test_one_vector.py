"""One image has one embedding, whoever embeds it: filter, dedupe, eval, train and search show it to the tower alike."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.made import shard_bytes

from capivara_cli.commands.search import Options as SearchOptions
from capivara_cli.commands.search import search
from capivara_cli.commands.searching.index import open_index
from capivara_cli.evaluation.gallery import collect
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.source import Source
from capivara_cli.shards.embedding import unit
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.stages import dedupe
from capivara_cli.stages import filter as filtering
from capivara_cli.training.store import features

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clip(tiny: Path) -> Clip:
    return load_clip(f"local-dir:{tiny}")


def photo(seed: int, size: tuple[int, int]) -> Sample:
    """A JPEG of noise, of which a draft shows the tower other pixels than the whole image does."""
    out = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(out, "JPEG", quality=90)
    captions = [Caption("a red dog", "en", "alt").to_json()]
    return Sample(f"photo{seed}", {"jpg": out.getvalue(), "json": encode_json({"captions": captions})})


@pytest.fixture(scope="module")
def photos() -> list[Sample]:
    return [photo(0, (400, 300)), photo(1, (200, 900)), photo(2, (64, 48))]


def environment(clip: Clip, step: str) -> Env:
    return Env(Settings(device="cpu", quiet=True), step, {("clip", "toy", "", "cpu"): clip})


def by_filter(clip: Clip, samples: list[Sample], **options: Any) -> np.ndarray:
    env = environment(clip, "filter")
    out = filtering.filter.run(iter(samples), filtering.Options(model="toy", **options), env)
    return np.stack([np.load(io.BytesIO(each.members["clip.npy"])) for each in out])


def by_dedupe(clip: Clip, samples: list[Sample], **options: Any) -> np.ndarray:
    env = environment(clip, "dedupe")
    asked = dedupe.Options(images="embedding", model="toy", **options)
    return dedupe.CORPUS.survey(iter(samples), asked, env)["mark"]


def by_eval(clip: Clip, samples: list[Sample]) -> np.ndarray:
    return collect("photos", samples, [clip], environment(clip, "eval"), 64).images_for(clip)


def by_train(clip: Clip, samples: list[Sample], folder: Path) -> np.ndarray:
    (folder / "train.tar").write_bytes(shard_bytes(samples))
    env = environment(clip, "train")
    return features(Source([str(folder / "train.tar")], env), clip, folder / "features", env).images[:, 0]


def by_search(clip: Clip, samples: list[Sample], folder: Path) -> np.ndarray:
    (folder / "search.tar").write_bytes(shard_bytes(samples))
    with open_index([str(folder / "search.tar")], clip, environment(clip, "search")) as index:
        return index.features.copy()


def test_the_tower_sees_another_image_in_a_draft(clip: Clip, photos: list[Sample]) -> None:
    whole, draft = (
        clip.embed_images([clip.preprocess(decode_image(each, size)) for each in photos])
        for size in (0, clip.preprocess.draft)
    )
    assert [bool((one != other).any()) for one, other in zip(whole, draft, strict=True)] == [True, True, False]


def test_one_image_has_one_vector_in_every_command(
    clip: Clip, photos: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    expected = by_filter(clip, photos)
    assert expected.dtype == np.float16
    searched, evaluated = by_search(clip, photos, tmp_path), by_eval(clip, photos)
    assert searched.dtype == evaluated.dtype == np.float32
    np.testing.assert_array_equal(searched, evaluated)
    found = {
        "filter --min-entropy": by_filter(clip, photos, min_entropy=0.5),
        "dedupe": by_dedupe(clip, photos),
        "dedupe --against-by phash": by_dedupe(clip, photos, against="toy:2", against_by="phash"),
        "train": by_train(clip, photos, tmp_path),
    }
    assert [name for name, vectors in found.items() if not np.array_equal(vectors, expected)] == []
    np.testing.assert_array_equal(searched, np.stack([unit(each) for each in expected]))


def test_a_set_has_one_score_before_and_after_filter(clip: Clip, photos: list[Sample]) -> None:
    """Stored embeddings are rounded to float16: computed ones are too, before they are compared."""
    out = list(filtering.filter.run(iter(photos), filtering.Options(model="toy"), environment(clip, "filter")))
    assert all("clip.npy" in each.members for each in out)
    np.testing.assert_array_equal(by_eval(clip, photos), by_eval(clip, out))
    blind = [Sample(each.key, {**each.members, "jpg": b"never decoded"}) for each in out]
    np.testing.assert_array_equal(by_eval(clip, photos), by_eval(clip, blind))


def test_an_image_that_is_searched_for_finds_itself(
    clip: Clip, photos: list[Sample], shards: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "asked.jpg").write_bytes(photos[0].image)
    options = SearchOptions(model="toy", image=str(tmp_path / "asked.jpg"), k=1, inline="off")
    (result,) = search.run([str(shards(photos))], options, environment(clip, "search"))["results"]
    assert [(hit["key"], hit["score"]) for hit in result["hits"]] == [("photo0", pytest.approx(1.0, abs=1e-6))]


def test_the_identity_of_an_embedding_says_how_images_are_decoded(clip: Clip) -> None:
    assert clip.identity.preprocess == (
        "JPEGs decoded to 96 px or more, 32 px bicubic shortest, mean 0.5/0.5/0.5, std 0.25/0.25/0.25"
    )
