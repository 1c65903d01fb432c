"""``load``: embeddings of texts and images by any model that the commands know."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.made import jpeg

import capivara_cli as capivara
from capivara_cli.models.clip import load_clip


@pytest.fixture(scope="module")
def toy() -> capivara.Model:
    return capivara.load("toy", device="cpu")


def test_texts_are_embedded_as_by_the_commands(toy: capivara.Model) -> None:
    texts = ["um cachorro", "a red square", ""]
    found = toy.embed_texts(texts)
    assert (found.shape, found.dtype) == ((3, toy.dim), np.float32)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.array_equal(found, load_clip("toy").embed_texts(texts))
    assert np.array_equal(toy.embed_texts("um cachorro"), found[:1]), "one text is a list of one"
    assert np.array_equal(toy.embed_texts(iter(texts)), found)
    assert toy.embed_texts([]).shape == (0, toy.dim)


def test_images_are_embedded_from_files_bytes_pil_images_and_samples(toy: capivara.Model, here: Path) -> None:
    sample = next(iter(capivara.read("shards")))
    data = sample.members["jpg"]
    Path("photo.jpg").write_bytes(data)
    forms = [sample, sample.image, data, "photo.jpg", Path("photo.jpg"), Image.open(io.BytesIO(data))]
    found = toy.embed_images(forms)
    assert (found.shape, found.dtype) == ((6, toy.dim), np.float32)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert all(np.array_equal(row, found[0]) for row in found)
    for one in forms:
        assert np.array_equal(toy.embed_images(one), found[:1]), "one image is a list of one"
    assert np.array_equal(toy.embed_images(iter(forms)), found)
    assert toy.embed_images([]).shape == (0, toy.dim)
    assert toy.embed_images(capivara.read("shards")).shape == (6, toy.dim)


def test_a_pil_image_of_another_mode_is_seen_as_its_file_is(toy: capivara.Model) -> None:
    transparent = Image.new("RGBA", (40, 30), (255, 0, 0, 128))
    out = io.BytesIO()
    transparent.save(out, "PNG")
    pil, file = toy.embed_images([transparent, out.getvalue()])
    assert np.array_equal(pil, file)
    grey = Image.fromarray((np.arange(40 * 30).reshape(30, 40) * 50).astype(np.uint16))
    out = io.BytesIO()
    grey.save(out, "PNG")
    pil, file = toy.embed_images([grey, out.getvalue()])
    assert np.array_equal(pil, file)


def test_the_batch_does_not_change_an_embedding(toy: capivara.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [jpeg((number, 10, 200)) for number in range(11)]
    whole = toy.embed_images(images)
    monkeypatch.setattr("capivara_cli.library.model._TOGETHER", 4)
    assert np.array_equal(toy.embed_images(images), whole)


def test_scores_are_cosines(toy: capivara.Model, here: Path) -> None:
    scores = toy.score(capivara.read("shards"), ["a red square", "a blue square"])
    assert scores.shape == (6, 2)
    assert np.array_equal(
        scores, toy.embed_images(capivara.read("shards")) @ toy.embed_texts(["a red square", "a blue square"]).T
    )


def test_an_image_that_cannot_be_read_is_named(toy: capivara.Model, here: Path) -> None:
    Path("bad.jpg").write_bytes(b"\xff\xd8 none")
    cut = Image.open(io.BytesIO(jpeg()[:-20]))
    for images, message in (
        (["bad.jpg"], "bad.jpg: image cannot be decoded"),
        ([jpeg(), b""], "image 1: image has zero bytes"),
        (["nowhere.jpg"], "nowhere.jpg: cannot be read: No such file"),
        ([jpeg(), jpeg(), cut], "image 2: image cannot be decoded: truncated"),
    ):
        with pytest.raises(capivara.CapivaraError, match=message):
            toy.embed_images(images)
    wrong: Any = [3]
    with pytest.raises(capivara.UsageError, match="image 0: 3 is no image"):
        toy.embed_images(wrong)


def test_folders_and_unknown_names(tiny: Path) -> None:
    for name in (f"local-dir:{tiny}", tiny, str(tiny)):
        assert capivara.load(name, device="cpu").embed_texts(["a dog"]).shape[0] == 1
    for wrong in ("local-dir:nowhere", "ViT-B-33", "hf-hub:none/none"):
        with pytest.raises(capivara.CapivaraError) as caught:
            capivara.load(wrong, device="cpu")
        assert "--" not in caught.value.message
    with pytest.raises(capivara.CapivaraError, match="device nonsense"):
        capivara.load("toy", device="nonsense")


def test_a_model_for_translated_queries_needs_their_language(toy: capivara.Model) -> None:
    pivoted = load_clip("toy")
    pivoted.translate_queries = "en"
    model = capivara.Model("pivoted", pivoted, toy._env)
    with pytest.raises(capivara.CapivaraError, match="which language are yours in") as caught:
        model.embed_texts(["um círculo"])
    assert "lang" in caught.value.hint
    assert "--" not in caught.value.hint
    translated = model.embed_texts(["um círculo vermelho"], lang="pt", translator="toy")
    assert np.array_equal(model.embed_texts(["um círculo vermelho"], lang="en"), toy.embed_texts("um círculo vermelho"))
    assert not np.array_equal(translated, toy.embed_texts("um círculo vermelho"))
