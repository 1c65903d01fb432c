"""What a feature store is found by, and what it holds when work is cut into batches; the model is made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import pairs

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.source import Source
from capivara_cli.shards.embedding import TowerIdentity
from capivara_cli.shards.sample import Sample
from capivara_cli.training import store as module
from capivara_cli.training.store import FeatureStore, features
from capivara_cli.training.views import Views


class Pixels:
    """Preprocessing: the image with three numbers on a side."""

    draft = 0

    def __call__(self, image: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(image.resize((3, 3)))).permute(2, 0, 1).contiguous()


IDENTITY = TowerIdentity("m", "sha256:a", "224 px")


class Model:
    """What a store asks of a model: the embedding of an image is its first pixels, the tokens of a text its words."""

    pad_id = 0
    tokenizer = SimpleNamespace(context_length=99)
    preprocess = Pixels()

    def __init__(self, identity: TowerIdentity = IDENTITY, dim: int = 4, tokenizer_digest: str = "t") -> None:
        self.identity, self.dim, self.tokenizer_digest = identity, dim, tokenizer_digest

    def embed_images(self, images: Sequence[torch.Tensor]) -> np.ndarray:
        rows = [image.flatten()[: self.dim].numpy() for image in images]
        return np.array(rows, np.float32).reshape(-1, self.dim)

    def tokenize(self, texts: Sequence[str], langs: Sequence[str]) -> list[np.ndarray]:
        return [np.array([len(word) for word in (lang, *text.split())], np.int32)
                for text, lang in zip(texts, langs, strict=True)]  # fmt: skip


class Listed(list[Sample]):
    """Samples as a source that is no file."""

    shards = ("-",)
    history: Any = ()

    def total(self) -> None:
        """The number of samples is not known."""

    def __iter__(self) -> Iterator[Sample]:
        return super().__iter__()


MODEL = Model()
CHANGES: dict[str, tuple[Any, dict[str, Any], int]] = {
    "another name of the model": (Model(replace(IDENTITY, model="n")), {}, 0),
    "other weights": (Model(replace(IDENTITY, weights="sha256:b")), {}, 0),
    "another preprocessing": (Model(replace(IDENTITY, preprocess="336 px")), {}, 0),
    "another size": (Model(dim=3), {}, 0),
    "another tokenizer": (Model(tokenizer_digest="u"), {}, 0),
    "views": (MODEL, {"views": 1}, 0),
    "more views": (MODEL, {"views": 2}, 0),
    "views of another seed": (MODEL, {"views": 1}, 1),
    "pixels": (MODEL, {"pixels": True}, 0),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["shards", "a stream"])
def test_a_store_has_every_part_of_its_key(streamed: bool, shards: Callable[..., Path], tmp_path: Path) -> None:
    samples = pairs(2)
    folder = str(shards(samples))

    def folder_of(model: Model, kind: dict[str, Any], seed: int) -> Path:
        env = Env(Settings(seed=seed), "train")
        source = Listed(samples) if streamed else Source([folder], env)
        return features(source, model, tmp_path / "stores", env, **kind).folder  # type: ignore[arg-type]

    found = {"": folder_of(MODEL, {}, 0), **{change: folder_of(*given) for change, given in CHANGES.items()}}
    assert len(set(found.values())) == len(found), found
    assert folder_of(MODEL, {}, 1) == found[""]  # without views, no seed decides anything
    assert folder_of(MODEL, {"views": 1}, 0) == found["views"]


def test_a_store_of_other_samples_from_a_stream_is_another(tmp_path: Path) -> None:
    stores = [
        features(Listed(each), MODEL, tmp_path, Env(Settings(), "train"))  # type: ignore[arg-type]
        for each in (pairs(2), pairs(3), pairs(2, seed=1))
    ]
    assert len({store.folder for store in stores}) == 3


@pytest.mark.parametrize("kind", [{}, {"views": 3}, {"pixels": True}], ids=["images", "views", "pixels"])
def test_batches_decide_nothing_about_what_is_stored(
    kind: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five images in batches of two, the last one incomplete; fifteen captions in batches of two or more."""

    def made(name: str) -> FeatureStore:
        env = Env(Settings(), "train")
        return features(Listed(pairs(5)), MODEL, tmp_path / name, env, **kind)  # type: ignore[arg-type]

    whole = made("whole")
    monkeypatch.setattr(module, "_IMAGE_BATCH", 2)
    monkeypatch.setattr(module, "_TOKENIZE_BATCH", 2)
    cut = made("cut")
    for name in [each for each in module._ARRAYS if each != "pixel_sums"]:
        one, other = getattr(cut, name), getattr(whole, name)
        if name == "pixels":  # compared with their checksums when they are read
            one, other = ([each[image] for image in range(each.shape[0])] for each in (one, other))
        np.testing.assert_array_equal(one, other, err_msg=name)
    captions = [caption for sample in pairs(5) for caption in sample.captions]
    for row, caption in zip(cut.rows(np.arange(len(captions))), captions, strict=True):
        assert row.tolist() == MODEL.tokenize([caption.text], [caption.lang])[0].tolist()
    assert [cut.text(number) for number in range(len(captions))] == [caption.text for caption in captions]
    owners = [number for number, sample in enumerate(pairs(5)) for _ in sample.captions]
    assert cut.owners(np.arange(len(captions))).tolist() == owners


def test_views_depend_on_seed_key_and_number_and_on_nothing_else() -> None:
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))

    def views(seed: int, key: str, count: int = 2) -> list[bytes]:
        return [each.numpy().tobytes() for each in Views(count, seed).of(key, image, Pixels())]

    first = views(0, "a")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert views(0, "a") == first
    assert torch.equal(torch.get_rng_state(), before)  # the random numbers of the training are not touched
    assert views(0, "a", 1) == first[:1]
    assert len({*first, *views(1, "a"), *views(0, "b")}) == 6
