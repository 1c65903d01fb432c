"""CLIP models by name: embeddings, identity, and what happens when files are not there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import own_tower

from capivara_cli.errors import CapivaraError
from capivara_cli.models import clip as module
from capivara_cli.models import hub
from capivara_cli.models.clip import load_clip, load_once
from capivara_cli.models.clip_files import DEFAULT_MODEL, DEFAULT_PRETRAINED, DEFAULT_REPO
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings

TEXTS = ["a red dog", "um gato", "", "a the red blue " * 60, "the house"]


def test_texts_are_embedded_in_order_and_as_if_padded_to_77(tiny: Path) -> None:
    clip = load_clip(f"local-dir:{tiny}")
    embedded = clip.embed_texts(TEXTS)
    with torch.no_grad():
        padded = clip.model.encode_text(clip.tokenizer(TEXTS), normalize=True).numpy()
    assert [len(row) for row in clip.tokenize(TEXTS)] == [5, 4, 2, 77, 4]
    assert embedded.shape == (5, 16) and embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, padded, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
    assert np.abs(embedded[0] - embedded[1]).max() > 0.05  # the texts do differ


def test_images_are_embedded_and_normalised(tiny: Path) -> None:
    from PIL import Image

    clip = load_clip(str(tiny))
    pixels = [clip.preprocess(Image.new("RGB", (50, 40), color)) for color in ("red", "blue")]
    embedded = clip.embed_images(pixels)
    assert embedded.shape == (2, 16) and embedded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
    assert clip.embed_images([]).shape == (0, 16)
    assert clip.embed_texts([]).shape == (0, 16)


def test_a_moved_folder_loads_and_its_weights_are_the_same(tiny: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny, tmp_path / "elsewhere")
    first, second = load_clip(f"local-dir:{tiny}"), load_clip(f"local-dir:{moved}")
    assert first.identity.to_json() == {
        "model": "clip",
        "weights": first.identity.weights,
        "preprocess": "JPEGs decoded to 96 px or more, 32 px bicubic shortest, mean 0.5/0.5/0.5, std 0.25/0.25/0.25",
    }
    assert second.identity == replace(first.identity, model="elsewhere")
    assert second.text_digest == first.text_digest


def test_the_identity_is_of_the_image_tower_alone(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(tiny, tmp_path / "clip")
    weights = load_file(other / "open_clip_model.safetensors")
    weights["text.proj.0.weight"] += 1
    save_file(weights, other / "open_clip_model.safetensors")
    first, second = load_clip(f"local-dir:{tiny}"), load_clip(f"local-dir:{other}")
    assert first.identity == second.identity
    assert first.text_digest != second.text_digest


def broken(tmp_path: Path, tiny: Path, kind: str) -> str:
    folder = tmp_path / "broken"
    if kind == "no folder":
        return f"local-dir:{folder}"
    shutil.copytree(tiny, folder)
    if kind == "no config":
        (folder / "open_clip_config.json").unlink()
    elif kind == "damaged config":
        (folder / "open_clip_config.json").write_text("{")
    elif kind == "no weights":
        (folder / "open_clip_model.safetensors").unlink()
    elif kind == "cut weights":
        data = (folder / "open_clip_model.safetensors").read_bytes()
        (folder / "open_clip_model.safetensors").write_bytes(data[: len(data) // 2])
    elif kind == "other shape":
        path = folder / "open_clip_config.json"
        path.write_text(path.read_text().replace('"embed_dim": 16', '"embed_dim": 8'))
    return f"local-dir:{folder}"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no folder", "no such folder"),
        ("no config", "no open_clip_config.json: not an open_clip folder"),
        ("damaged config", "open_clip_config.json: damaged"),
        ("no weights", "no weights; one of open_clip_model.safetensors"),
        ("cut weights", "open_clip_model.safetensors: cannot be loaded"),
        ("other shape", "open_clip_model.safetensors: cannot be loaded"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, tiny: Path, kind: str, message: str) -> None:
    with pytest.raises(CapivaraError) as caught:
        load_clip(broken(tmp_path, tiny, kind))
    assert str(tmp_path / "broken") in caught.value.message
    assert message in caught.value.message


def test_an_unknown_model_gets_a_guess() -> None:
    with pytest.raises(CapivaraError) as caught:
        load_clip("xlm-roberta-base-ViT-B-23")
    assert "there is no model 'xlm-roberta-base-ViT-B-23' — did you mean xlm-roberta-base-ViT-B-32" in str(caught.value)
    assert "local-dir:PATH" in caught.value.hint


def test_weights_must_be_named_and_known() -> None:
    with pytest.raises(CapivaraError, match="--model ViT-B-32 needs --pretrained") as caught:
        load_clip("ViT-B-32")
    assert "laion2b_s34b_b79k" in caught.value.hint
    with pytest.raises(CapivaraError, match="did you mean laion5b_s13b_b90k"):
        load_clip(DEFAULT_MODEL, "laion5b_s13b_b90")


@pytest.mark.parametrize(
    ("offline", "why"),
    [(True, "HF_HUB_OFFLINE is set"), (False, "http://127.0.0.1:9 cannot be reached")],
)
def test_an_absent_hub_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, why: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    asked = list[object]()
    monkeypatch.setattr("huggingface_hub.list_repo_files", lambda *words, **more: asked.append(words))
    with pytest.raises(CapivaraError) as caught:
        load_clip()
    assert asked == []  # huggingface_hub itself would retry for 23 seconds, for each file
    assert why in caught.value.message
    assert "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k" in caught.value.message
    assert "1.5 GB" in caught.value.message
    for way in ("--model local-dir:PATH", "--model toy", "HF_HOME", "HF_ENDPOINT"):
        assert way in caught.value.hint


def test_an_absent_hub_is_said_before_torch_is_imported() -> None:
    """Also that the repository known for the default weights is the one in open_clip's table."""
    import subprocess
    import sys

    import open_clip

    assert f"{DEFAULT_REPO}/" == open_clip.get_pretrained_cfg(DEFAULT_MODEL, DEFAULT_PRETRAINED)["hf_hub"]
    program = """
import os, sys
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_CACHE="/nowhere")
from capivara_cli.models.clip import check_model
from capivara_cli.errors import CapivaraError
for model in ("xlm-roberta-base-ViT-B-32", "hf-hub:org/name", "local-dir:/nowhere"):
    try:
        check_model(model)
    except CapivaraError as error:
        print(error.message.split(",")[0])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"the weights laion5b_s13b_b90k (1.5 GB) of {DEFAULT_REPO} are needed",
        "the open_clip configuration and weights of org/name are needed",
        "/nowhere: no such folder",
        "False",
    ]


def test_files_in_the_cache_need_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    """A hub repository as huggingface_hub caches it, and no hub: the model loads from the cache."""
    repo = tmp_path / "models--org--tiny"
    commit = "0" * 40
    shutil.copytree(tiny, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    clip = load_clip("hf-hub:org/tiny")
    assert clip.identity.model == "hf-hub:org/tiny"
    np.testing.assert_array_equal(clip.embed_texts(["a dog"]), load_clip(str(tiny)).embed_texts(["a dog"]))


def test_a_repository_name_that_is_none_is_refused() -> None:
    with pytest.raises(CapivaraError, match="is not the name of a hub repository"):
        hub.folder(hub.RepoFiles("a/b/c", (("x",),)))


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ({}, [4, 9]),
        ({"pool_type": "eos", "eos_id": 49407}, [4, 9]),
        ({"no_causal_mask": True, "pool_type": "last"}, [77, 77]),  # SigLIP's: it sees the padding
        ({"embed_cls": True}, [77, 77]),  # CoCa's
    ],
    ids=["argmax", "eos", "siglip", "coca"],
)
def test_open_clips_own_text_towers_get_rows_as_short_as_they_can_take(
    tmp_path: Path, text: dict[str, Any], lengths: list[int]
) -> None:
    import open_clip

    model = own_tower(tmp_path, **text)
    clip = load_clip(f"local-dir:{tmp_path}")
    texts = ["a dog", "two cats on a sofa, asleep"]
    assert [len(row) for row in clip.tokenize(texts)] == lengths
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(texts), normalize=True).numpy()
    np.testing.assert_allclose(clip.embed_texts(texts), expected, atol=1e-6)


def test_a_digest_is_the_same_with_the_memory_given_back() -> None:
    """Also of a tensor that has two names, whose pages must not be dropped between its two readings."""
    from capivara_cli.models.build import digest

    tower = torch.nn.ModuleDict({"first": torch.nn.Linear(300, 300), "second": torch.nn.Linear(300, 300)})
    tower["second"].weight = tower["first"].weight
    expected = digest(tower)
    assert digest(tower, forget=True) == expected
    assert (tower["first"].weight != 0).any()
    alone = torch.nn.Linear(300, 300)
    before = digest(alone)
    assert digest(alone, forget=True) == before


def test_a_tokenizer_that_marks_the_language_is_told_it(tiny: Path, tmp_path: Path) -> None:
    """NLLB's text towers read the language as their first token; a text in an unknown one keeps the default."""
    from transformers import NllbTokenizer

    clip = load_clip(f"local-dir:{tiny}")
    own = NllbTokenizer()
    clip.tokenizer.tokenizer = own
    codes = [int(row[0]) for row in clip.tokenize(["um gato"] * 3, ["pt", "xx-unknown", "hi"])]
    assert own.convert_ids_to_tokens(codes) == ["por_Latn", "eng_Latn", "hin_Deva"]
    assert own.src_lang == "eng_Latn"
    assert own.convert_ids_to_tokens(int(clip.tokenize(["um gato"])[0][0])) == "eng_Latn"


def test_a_model_is_loaded_once_for_each_name_weights_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_clip", lambda *given: given)
    models: dict[Any, Any] = {}
    cpu, other = (Env(Settings(device=device), "eval", models) for device in ("cpu", "meta"))
    monkeypatch.setattr("capivara_cli.pipeline.env.resolved", lambda device: device)
    asked = [("a", ""), ("a", "w"), ("b", "")]
    found: list[Any] = [load_once(env, *each) for env in (cpu, other) for each in asked]
    assert found == [(*each, device) for device in ("cpu", "meta") for each in asked]
    assert load_once(cpu, "a", "w") is found[1]


def test_the_digest_of_a_tokenizer_has_its_length_and_its_words(tiny: Path) -> None:
    clip, other = load_clip(f"local-dir:{tiny}"), load_clip(f"local-dir:{tiny}")
    assert other.tokenizer_digest == clip.tokenizer_digest
    other.tokenizer.context_length = 76
    assert other.tokenizer_digest != clip.tokenizer_digest
    other.tokenizer.context_length = 77
    other.tokenizer.tokenizer.add_tokens(["capivara"])
    assert other.tokenizer_digest != clip.tokenizer_digest
