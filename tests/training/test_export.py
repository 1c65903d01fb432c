"""What export writes loads in plain open_clip and plain peft, offline, and embeds as the run does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from peft import PeftModel
from tiny import pairs

from capivara_cli.clip import load_clip
from capivara_cli.commands.export import Options, export
from capivara_cli.commands.train import Options as TrainOptions
from capivara_cli.commands.train import train
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.runs import RunDir
from capivara_cli.stage import Env, Settings

TEXTS = ["um gato azul", "a red dog", "a casa em o vermelho"]


@pytest.fixture
def a_run(tiny: Path, shards: Callable[..., Path], tmp_path: Path) -> Path:
    return trained(tiny, shards, tmp_path)


def trained(tiny: Path, shards: Callable[..., Path], tmp_path: Path, peft: Any = "lora") -> Path:
    options = TrainOptions(
        lang="pt", model=f"local-dir:{tiny}", runs=str(tmp_path / "runs"), steps=6, batch_size=16, lr=1e-2, warmup=1,
        peft=peft,
    )  # fmt: skip
    return Path(train.run([str(shards(pairs(20)))], options, Env(Settings(), "train"))["run"])


def write(run: Path, to: Path, form: str = "open-clip") -> dict:
    return export.run([str(run)], Options(to=str(to), format=form), Env(Settings(), "export"))  # type: ignore[arg-type]


def plain_texts(model: torch.nn.Module, tokenizer: Callable) -> np.ndarray:
    with torch.no_grad():
        return model.eval().encode_text(tokenizer(TEXTS), normalize=True).numpy()


def test_plain_open_clip_loads_the_folder(a_run: Path, tiny: Path, tmp_path: Path) -> None:
    summary = write(a_run, tmp_path / "exported")
    assert summary["bytes"] > 200_000 and summary["format"] == "open-clip"
    name = f"local-dir:{tmp_path / 'exported'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    adapted, base = load_clip(str(a_run)), load_clip(str(tiny))
    embedded = plain_texts(model, open_clip.get_tokenizer(name))
    np.testing.assert_allclose(embedded, adapted.embed_texts(TEXTS), atol=1e-5)
    assert np.abs(embedded - base.embed_texts(TEXTS)).max() > 1e-2
    assert model.logit_scale.item() == adapted.model.logit_scale.item()
    from PIL import Image

    image = Image.new("RGB", (50, 40), "red")
    torch.testing.assert_close(preprocess(image), adapted.preprocess(image))
    with torch.no_grad():
        pixels = model.encode_image(preprocess(image)[None], normalize=True).numpy()
    np.testing.assert_allclose(pixels, base.embed_images([base.preprocess(image)]), atol=1e-5)


def test_the_folder_can_be_moved_and_keeps_the_identity_of_its_base(a_run: Path, tiny: Path, tmp_path: Path) -> None:
    write(a_run, tmp_path / "exported")
    moved = (tmp_path / "exported").rename(tmp_path / "moved")
    clip = load_clip(f"local-dir:{moved}")
    np.testing.assert_allclose(clip.embed_texts(TEXTS), load_clip(str(a_run)).embed_texts(TEXTS), atol=1e-6)
    assert clip.identity == load_clip(str(tiny)).identity


def test_plain_peft_loads_the_adapter(a_run: Path, tiny: Path, tmp_path: Path) -> None:
    write(a_run, tmp_path / "adapter", "peft")
    model, tokenizer = load_clip(str(tiny)).model, open_clip.get_tokenizer(f"local-dir:{tiny}")
    model.text = PeftModel.from_pretrained(model.text, str(tmp_path / "adapter"))
    assert model.text.peft_config["default"].base_model_name_or_path == "clip"
    np.testing.assert_allclose(plain_texts(model, tokenizer), load_clip(str(a_run)).embed_texts(TEXTS), atol=1e-5)
    names = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "adapter").iterdir()}
    assert set(names) == {"README.md", "adapter_config.json", "adapter_model.safetensors", "base.json"}
    assert names["adapter_model.safetensors"] == "0o644"


def test_nothing_is_overwritten_and_nothing_is_left_half_done(
    a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "exported"
    target.mkdir(parents=True)
    with pytest.raises(CapivaraError, match="exported: exists"):
        write(a_run, target)
    target.rmdir()

    from capivara_cli.exporters import open_clip as module

    def fail(*_: object) -> None:
        (target.parent / "seen").write_text(str([path.name for path in target.parent.iterdir()]))
        raise OSError("no space left")

    monkeypatch.setattr(module, "write", fail)
    with pytest.raises(OSError, match="no space left"):
        write(a_run, target)
    assert ".exported.partial-" in (target.parent / "seen").read_text()
    assert [path.name for path in target.parent.iterdir()] == ["seen"]


def test_only_a_finished_run_is_exported(a_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one run and --to are needed"):
        export.run([], Options(to="x"), Env(Settings(), "export"))
    with pytest.raises(CapivaraError, match=r"no run.json: not a run folder"):
        write(tmp_path, tmp_path / "x")
    RunDir(a_run).save(finished=False)
    with pytest.raises(CapivaraError, match="unfinished: step 6 of 6"):
        write(a_run, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_sentence_transformers_and_transformers_load_the_towers(
    a_run: Path, tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image
    from sentence_transformers import SentenceTransformer
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    write(a_run, tmp_path / "exported", "hf")
    assert "Writing" not in capfd.readouterr().err
    moved = (tmp_path / "exported").rename(tmp_path / "moved")
    adapted = load_clip(str(a_run))
    texts = SentenceTransformer(str(moved / "text"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(texts, adapted.embed_texts(TEXTS), atol=1e-5)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 45, 3), np.uint8))
    pixels = CLIPImageProcessor.from_pretrained(moved / "image")(image, return_tensors="pt")
    torch.testing.assert_close(pixels["pixel_values"][0], adapted.preprocess(image), atol=0.02, rtol=0)
    tower = CLIPVisionModelWithProjection.from_pretrained(moved / "image").eval()
    with torch.no_grad():
        embedded = tower(adapted.preprocess(image)[None]).image_embeds
    expected = adapted.embed_images([adapted.preprocess(image)])
    np.testing.assert_allclose(torch.nn.functional.normalize(embedded).numpy(), expected, atol=1e-5)
    assert "SentenceTransformer" in (moved / "README.md").read_text()


@pytest.mark.parametrize("method", ["lora", "adapter", "soft-prompt"])
def test_onnx_computes_what_the_run_does(tiny: Path, shards: Callable[..., Path], tmp_path: Path, method: str) -> None:
    import json

    import onnxruntime

    run = trained(tiny, shards, tmp_path, peft=method)
    write(run, tmp_path / "onnx", "onnx")
    clip = load_clip(str(run))
    described = json.loads((tmp_path / "onnx" / "capivara.json").read_text())
    assert described["text"] == {"longest": 77, "padded_to": None, "pad_id": 1}
    assert described["logit_scale"] == pytest.approx(clip.model.logit_scale.exp().item())

    def session(name: str) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(str(tmp_path / "onnx" / name), providers=["CPUExecutionProvider"])

    tokens = clip.pad(clip.tokenize(TEXTS)).numpy()
    (texts,) = session("text.onnx").run(["text_embedding"], {"input_ids": tokens})
    np.testing.assert_allclose(texts, clip.embed_texts(TEXTS), atol=1e-4)
    pixels = [torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    (images,) = session("image.onnx").run(["image_embedding"], {"pixel_values": torch.stack(pixels).numpy()})
    np.testing.assert_allclose(images, clip.embed_images(pixels), atol=1e-4)


def test_a_graph_that_computes_something_else_is_refused(
    a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capivara_cli.exporters import onnx as module

    monkeypatch.setattr(module, "_TOLERANCE", -1.0)
    with pytest.raises(CapivaraError, match=r"text.onnx: onnxruntime's embeddings differ"):
        write(a_run, tmp_path / "onnx", "onnx")
    assert not (tmp_path / "onnx").exists()


@pytest.mark.parametrize("form", ["open-clip", "peft", "hf"])
def test_what_a_form_cannot_express_is_refused(
    tiny: Path, shards: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    run = trained(tiny, shards, tmp_path, peft="adapter")
    with pytest.raises(CapivaraError, match="--peft adapter") as raised:
        write(run, tmp_path / "x", form)
    assert "--format onnx takes any method" in raised.value.hint
    assert not (tmp_path / "x").exists()


def test_a_wholly_trained_tower_is_merged_as_it_is(tiny: Path, shards: Callable[..., Path], tmp_path: Path) -> None:
    run = trained(tiny, shards, tmp_path, peft="full")
    write(run, tmp_path / "full")
    own, exported = load_clip(str(run)), load_clip(f"local-dir:{tmp_path / 'full'}")
    np.testing.assert_allclose(exported.embed_texts(TEXTS), own.embed_texts(TEXTS), atol=1e-6)
    pixels = [torch.rand(3, 32, 32)]
    np.testing.assert_allclose(exported.embed_images(pixels), own.embed_images(pixels), atol=1e-6)
    assert np.abs(own.embed_images(pixels) - load_clip(str(tiny)).embed_images(pixels)).max() > 1e-3
