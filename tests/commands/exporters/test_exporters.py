"""What export writes loads in plain open_clip and plain peft, offline, and embeds as the run does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
from peft import PeftModel
from reliability import running
from support import variants
from support.families import FAMILIES, taught
from support.made import shard_bytes
from support.tiny import pairs, tiny_clip
from support.warm import CAPIVARA

from capivara_cli.commands.export import Options, export
from capivara_cli.commands.exporters import onnx
from capivara_cli.commands.train import Options as TrainOptions
from capivara_cli.commands.train import train
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models.clip import load_clip
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build
from capivara_cli.reports import card
from capivara_cli.shards.sample import Sample

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["um gato azul", "a red dog", "a casa em o vermelho"]


@pytest.fixture(scope="module")
def made_run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")

    def shards(samples: list[Sample]) -> Path:
        (folder / "00000.tar").write_bytes(shard_bytes(samples))
        return folder

    return trained(tiny, shards, folder)


@pytest.fixture
def a_run(made_run: Path, tmp_path: Path) -> Path:
    """A run, to be changed."""
    return shutil.copytree(made_run, tmp_path / "runs" / made_run.name)


def trained(tiny: Path, shards: Callable[..., Path], tmp_path: Path, peft: Any = "lora") -> Path:
    options = build(
        TrainOptions,
        lang="pt", model=f"local-dir:{tiny}", runs=str(tmp_path / "runs"), steps=6, batch_size=16, lr=1e-2, warmup=1,
        peft=peft,
    )  # fmt: skip
    return Path(train.run([str(shards(pairs(20)))], options, Env(Settings(), "train"))["run"])


def write(run: Path, to: Path, form: str = "open-clip") -> dict:
    return export.run([str(run)], Options(format=form), Env(Settings(out=str(to)), "export"))  # type: ignore[arg-type]


def push(run: Path, to: Path, repo: str = "") -> dict:
    return export.run([str(run)], Options(hf=str(to), repo=repo), Env(Settings(), "export"))  # type: ignore[arg-type]


def plain_texts(model: torch.nn.Module, tokenizer: Callable) -> np.ndarray:
    with torch.no_grad():
        return model.eval().encode_text(tokenizer(TEXTS), normalize=True).numpy()


def loaded_as_its_page_says(folder: Path) -> tuple[torch.nn.Module, Any, Callable]:
    """The model and preprocessing of an exported folder, by the lines of its README with the path of the folder."""
    page = (folder / "README.md").read_text()
    code = page.split("## With open_clip")[1].split("```python\n")[1].split("```")[0]
    found: dict[str, Any] = {}
    first = next(line for line in code.splitlines() if line.startswith("folder = "))
    exec(code.replace(first, f"folder = {str(folder)!r}"), found)
    return found["model"], None, found["preprocess"]


def test_plain_open_clip_loads_the_folder(a_run: Path, tiny: Path, tmp_path: Path) -> None:
    summary = write(a_run, tmp_path / "exported")
    assert summary["bytes"] > 200_000 and summary["format"] == "open-clip"
    name = f"local-dir:{tmp_path / 'exported'}"
    model, _, preprocess = loaded_as_its_page_says(tmp_path / "exported")
    adapted, base = load_clip(str(a_run)), load_clip(str(tiny))
    embedded = plain_texts(model, open_clip.get_tokenizer(name))
    np.testing.assert_allclose(embedded, adapted.embed_texts(TEXTS), atol=1e-5)
    assert np.abs(embedded - base.embed_texts(TEXTS)).max() > 1e-2
    assert model.logit_scale.item() == adapted.model.logit_scale.item()
    from PIL import Image

    image = Image.new("RGB", (50, 40), "red")
    torch.testing.assert_close(preprocess(image), adapted.preprocess.normalised(adapted.preprocess(image)))
    with torch.no_grad():
        pixels = model.encode_image(preprocess(image)[None], normalize=True).numpy()
    np.testing.assert_allclose(pixels, base.embed_images([base.preprocess(image)]), atol=1e-5)


def test_the_folder_can_be_moved_and_keeps_the_identity_of_its_base(a_run: Path, tiny: Path, tmp_path: Path) -> None:
    write(a_run, tmp_path / "exported")
    moved = (tmp_path / "exported").rename(tmp_path / "moved")
    clip, adapted = load_clip(f"local-dir:{moved}"), load_clip(str(a_run)).embed_texts(TEXTS)
    np.testing.assert_allclose(clip.embed_texts(TEXTS), adapted, atol=1e-6)
    assert clip.identity == load_clip(str(tiny)).identity
    model = loaded_as_its_page_says(moved)[0]
    np.testing.assert_allclose(plain_texts(model, open_clip.get_tokenizer(f"local-dir:{moved}")), adapted, atol=1e-5)


@pytest.mark.parametrize("form", ["open-clip", "hf", "peft"])
def test_no_exported_file_names_the_folder_where_it_was_written(form: str, a_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    write(a_run, out, form)
    files = [path for path in out.rglob("*") if path.is_file()]
    assert [path.name for path in files if str(out).encode() in path.read_bytes()] == []
    assert [path.name for path in files if b".partial-" in path.read_bytes()] == []


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
    with pytest.raises(CapivaraError, match="exported: exists already"):
        write(a_run, target)
    target.rmdir()

    from capivara_cli.commands.exporters import open_clip as module

    def fail(*_: object) -> None:
        (target.parent / "seen").write_text(str([path.name for path in target.parent.iterdir()]))
        raise OSError("no space left")

    monkeypatch.setattr(module, "write", fail)
    with pytest.raises(OSError, match="no space left"):
        write(a_run, target)
    assert ".exported.partial-" in (target.parent / "seen").read_text()
    assert [path.name for path in target.parent.iterdir()] == ["seen"]


KILLED = """
import sys, time
from capivara_cli.__main__ import main
from capivara_cli.commands.exporters import {form}
write = {form}.write
def killed(run, folder, *given, **more):
    result = write(run, folder, *given, **more)
    print("written", file=sys.stderr, flush=True)
    time.sleep(600)
    return result
{form}.write = killed
main()
"""


@pytest.mark.parametrize("form", variants.some(["open-clip", "peft", "hf"], 1))
def test_what_a_killed_export_left_is_removed_by_the_next_one(form: str, a_run: Path, tmp_path: Path) -> None:
    words = ["export", str(a_run), "--format", form, "--out", str(tmp_path / "out" / "clip")]
    code = KILLED.format(form=form.replace("-", "_"))
    process = subprocess.Popen([*CAPIVARA, "-c", code, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("written" in line for line in process.stderr)
    process.kill()
    process.communicate()
    (left,) = (tmp_path / "out").iterdir()
    assert left.name.startswith(".clip.partial-") and any(left.iterdir())
    number = left.name.rsplit("-", 2)[1]
    while Path(f"/proc/{number}").exists():  # the server that started it has not taken note of its end
        time.sleep(0.01)
    (tmp_path / "out" / ".clip.partial-elsewhere-1-abcdef").mkdir()  # of another machine, where it may be at work
    write(a_run, tmp_path / "out" / "clip", form)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"clip", ".clip.partial-elsewhere-1-abcdef"}
    write(a_run, tmp_path / "clean" / "clip", form)
    assert contents(tmp_path / "out" / "clip") == contents(tmp_path / "clean" / "clip")


def contents(folder: Path) -> dict[str, bytes]:
    """The files of an export by name; open_clip's configuration without the absolute path of the folder."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data.replace(str(folder).encode(), b"") for name, data in files.items()}


def test_overwrite_replaces_an_export_and_no_foreign_file(a_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "clip"
    write(a_run, target, "peft")
    clean = contents(target)
    (target / "adapter_config.json").write_text("{}")
    env = Env(Settings(out=str(target), overwrite=True), "export")
    export.run([str(a_run)], Options(format="peft"), env)
    assert contents(target) == clean
    (target / "notes.txt").write_text("mine")
    with pytest.raises(CapivaraError, match=r"--overwrite does not delete notes\.txt"):
        export.run([str(a_run)], Options(format="peft"), env)
    assert contents(target) == {**clean, "notes.txt": b"mine"}
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


ONE_AFTER_THE_OTHER = """
import json, sys
from capivara_cli.__main__ import main
for line in json.loads(sys.argv[1]):
    sys.argv = ["capivara", *line]
    try:
        main()
    except SystemExit as leaving:
        assert not leaving.code
"""


def test_the_same_request_writes_the_same_bytes_under_any_hash_seed(
    tiny: Path, shards: Callable[..., Path], tmp_path: Path
) -> None:
    shards(pairs(8))
    found = []
    for seed in ("1" if variants.ALL else "", "77"):  # "": in this process, with its own
        place = tmp_path / f"hash-{seed}"
        words = [
            "train", "../shards", "--lang", "pt", "--model", f"local-dir:{tiny}", "--steps", "1", "--batch-size", "4",
            "--warmup", "0", "--layernorm", "--lora-targets", "value,query,dense", "--no-energy", "--device", "cpu",
        ]  # fmt: skip
        place.mkdir()
        lines = [words, ["export", "runs/pt", "--hf", "hub", "--repo", "me/clip"]]
        if seed:
            subprocess.run(
                [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(lines)],
                cwd=place, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, timeout=600,
            )  # fmt: skip
        else:
            assert [running.run(line, place).code for line in lines] == [0, 0]
        run = json.loads((place / "runs" / "pt" / "run.json").read_text())
        timed = {"seconds", "pairs_per_second", "peak_bytes"}
        document = {**run, "result": {key: value for key, value in run["result"].items() if key not in timed}}
        files = {
            **contents(place / "runs" / "pt" / "adapter"),
            **{f"hub/{name}": data for name, data in contents(place / "hub").items()},
        }
        left_out = {"hub/README.md", "hub/curve.png"}  # the card has the seconds
        found.append(({key: document[key] for key in document.keys() - {"checksum", "metrics_sha256"}},
                      {name: data for name, data in files.items() if name not in left_out}))  # fmt: skip
    assert found[0] == found[1]


def test_the_older_to_names_the_folder_too(a_run: Path, tmp_path: Path) -> None:
    write(a_run, tmp_path / "new", "peft")
    summary = export.run([str(a_run)], Options(to=str(tmp_path / "old"), format="peft"), Env(Settings(), "export"))
    assert summary["to"] == str(tmp_path / "old")
    new, old = (sorted(path.name for path in (tmp_path / name).rglob("*")) for name in ("new", "old"))
    assert old == new
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {*old}


def test_an_edited_card_is_not_lost_without_a_word(
    a_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card.write(a_run)
    write(a_run, tmp_path / "one", "peft")
    assert "has been edited" not in capsys.readouterr().err
    with (a_run / card.FILE).open("a") as file:
        file.write("\nAsk me first.\n")
    write(a_run, tmp_path / "two", "peft")
    warning = (
        f"warning: {a_run}/MODEL_CARD.md has been edited: {tmp_path}/two/README.md is a new card without the edits\n"
    )
    assert warning in capsys.readouterr().err
    assert "Ask me first" not in (tmp_path / "two" / "README.md").read_text()


def test_only_a_finished_run_is_exported(a_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="export needs one run and --out"):
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
    from transformers import AutoModel, CLIPImageProcessor, CLIPVisionModelWithProjection

    write(a_run, tmp_path / "exported", "hf")
    assert "Writing" not in capfd.readouterr().err
    moved = (tmp_path / "exported").rename(tmp_path / "moved")
    adapted = load_clip(str(a_run))
    capfd.readouterr()
    texts = SentenceTransformer(str(moved / "text"), device="cpu").encode(TEXTS)
    assert not re.search("missing|unexpected|newly", "".join(capfd.readouterr()), re.IGNORECASE)
    for kind, part in ((AutoModel, "text"), (CLIPVisionModelWithProjection, "image")):
        _, told = kind.from_pretrained(moved / part, output_loading_info=True)
        assert not any(told.values()), (part, told)
    np.testing.assert_allclose(texts, adapted.embed_texts(TEXTS), atol=1e-5)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 45, 3), np.uint8))
    pixels = CLIPImageProcessor.from_pretrained(moved / "image")(image, return_tensors="pt")
    shown = adapted.preprocess.normalised(adapted.preprocess(image))
    torch.testing.assert_close(pixels["pixel_values"][0], shown, atol=0.02, rtol=0)
    tower = CLIPVisionModelWithProjection.from_pretrained(moved / "image").eval()
    with torch.no_grad():
        embedded = tower(shown[None]).image_embeds
    expected = adapted.embed_images([adapted.preprocess(image)])
    np.testing.assert_allclose(torch.nn.functional.normalize(embedded).numpy(), expected, atol=1e-5)
    assert "SentenceTransformer" in (moved / "README.md").read_text()


def session(folder: Path, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("method", variants.some(["lora", "adapter", "soft-prompt"], 1))
def test_onnx_computes_what_the_run_does(
    shards: Callable[..., Path], tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both towers of one run; of the others the text tower, for no method changes the image tower.

    The text tower has one layer: torch's exporter takes seconds for each.
    """
    model = tiny_clip(tmp_path / "model", layers=1)
    convert = onnx._convert
    if method != "lora":
        monkeypatch.setattr(
            onnx, "_convert", lambda tower, *given: convert(tower, *given) if given[1].name == "text.onnx" else None
        )
    run, folder = trained(model, shards, tmp_path, peft=method), tmp_path / "onnx"
    write(run, folder, "onnx")
    clip = load_clip(str(run))
    described = json.loads((folder / "capivara.json").read_text())
    assert described["text"] == {"longest": 77, "padded_to": None, "pad_id": 1}
    assert described["logit_scale"] == pytest.approx(clip.model.logit_scale.exp().item())
    tokens = clip.pad(clip.tokenize(TEXTS)).numpy()
    (texts,) = session(folder, "text.onnx").run(["text_embedding"], {"input_ids": tokens})
    np.testing.assert_allclose(texts, clip.embed_texts(TEXTS), atol=1e-4)
    if method != "lora":
        return
    pixels = [noise(seed) for seed in range(3)]
    shown = clip.preprocess.normalised(torch.stack(pixels)).numpy()
    (images,) = session(folder, "image.onnx").run(["image_embedding"], {"pixel_values": shown})
    np.testing.assert_allclose(images, clip.embed_images(pixels), atol=1e-4)
    graph = (folder / "text.onnx").read_bytes()
    monkeypatch.setattr(torch.onnx, "export", lambda model, sample, path, **given: Path(path).write_bytes(graph))
    monkeypatch.setattr(onnx, "_TOLERANCE", -1.0)
    with pytest.raises(CapivaraError, match=r"text.onnx: onnxruntime's embeddings differ"):
        write(run, tmp_path / "different", "onnx")
    assert not (tmp_path / "different").exists()


@pytest.mark.parametrize("form", ["open-clip", "peft", "hf"])
def test_what_a_form_cannot_express_is_refused(
    tiny: Path, shards: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    run = trained(tiny, shards, tmp_path, peft="adapter")
    with pytest.raises(CapivaraError, match="--peft adapter") as raised:
        write(run, tmp_path / "x", form)
    assert "--format onnx works with any method" in raised.value.hint
    assert not (tmp_path / "x").exists()


def noise(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_a_wholly_trained_tower_is_merged_as_it_is(tiny: Path, shards: Callable[..., Path], tmp_path: Path) -> None:
    run = trained(tiny, shards, tmp_path, peft="full")
    write(run, tmp_path / "full")
    own, exported = load_clip(str(run)), load_clip(f"local-dir:{tmp_path / 'full'}")
    np.testing.assert_allclose(exported.embed_texts(TEXTS), own.embed_texts(TEXTS), atol=1e-6)
    pixels = [noise(0)]
    np.testing.assert_allclose(exported.embed_images(pixels), own.embed_images(pixels), atol=1e-6)
    assert np.abs(own.embed_images(pixels) - load_clip(str(tiny)).embed_images(pixels)).max() > 1e-3


def evaluated(run: Path) -> None:
    """What evaluation and the ledger leave, with paths of this machine in it."""
    recalls = {"R@1": 50.0, "mean": 50.0}
    row = {
        "set": "toy", "split": "test", "lang": "pt", "model": str(run), "n_images": 9, "n_captions": 9,
        "text_to_image": recalls, "image_to_text": recalls, "mean_recall": 50.0, "interval": [40.0, 60.0],
        "versus": None, "provenance": {"obtained": f"local copy in {run.parent}/toy"},
    }  # fmt: skip
    (run / "eval.json").write_text(json.dumps({"retrieval": [row], "classification": [], "disparity": []}))
    cost = {"id": "1", "stage": "train", "seconds": 1.0, "cpu_seconds": 1.0, "kwh_cpu": 1e-3, "kwh_gpu": 0.0,
            "kwh_ram": 0.0, "kwh": 1e-3, "co2e_g": 0.5, "intensity": 500.0, "source": "modelled"}  # fmt: skip
    (run / "footprint.json").write_text(json.dumps({"records": [cost]}))


def test_a_folder_for_the_hub_has_all_that_its_page_needs(
    a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import ModelCard

    evaluated(a_run)
    monkeypatch.chdir(tmp_path)
    summary = push(a_run, Path("clip-pt"))
    folder = tmp_path / "clip-pt"
    assert (summary["to"], summary["format"]) == ("clip-pt", "hub")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names >= {
        "README.md", ".gitattributes", "open_clip_config.json", "open_clip_model.safetensors", "config.json",
        "tokenizer.json", "tokenizer_config.json", "adapter/adapter_config.json", "adapter/adapter_model.safetensors",
        "text/modules.json", "image/config.json", "eval.json", "footprint.json", "curve.png",
    }  # fmt: skip
    said = capsys.readouterr().err
    assert f"hf upload ORG/NAME {folder}\n" in said and "give --repo ORG/NAME" in said
    assert "*.safetensors filter=lfs diff=lfs merge=lfs -text\n" in (folder / ".gitattributes").read_text()
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.language) == ("open_clip", ["pt"])
    assert card.data.eval_results is not None and card.data.eval_results[0].metric_value == 50.0
    assert 'create_model_and_transforms("hf-hub:ORG/NAME")' in card.text
    assert json.loads((folder / "eval.json").read_text())["retrieval"][0]["provenance"]["obtained"] == (
        "local copy in toy"
    )
    model, _, _ = open_clip.create_model_and_transforms("local-dir:clip-pt")
    embedded = plain_texts(model, open_clip.get_tokenizer("local-dir:clip-pt"))
    np.testing.assert_allclose(embedded, load_clip(str(a_run)).embed_texts(TEXTS), atol=1e-5)


def test_no_file_for_the_hub_says_where_it_was_made(a_run: Path, tiny: Path, tmp_path: Path) -> None:
    evaluated(a_run)
    push(a_run, tmp_path / "clip-pt", "me/clip-pt")
    places = [str(place).encode() for place in (tmp_path.parent, tiny.parent, Path.home(), Path.cwd())]
    told = [place for place in places if len(place) > 1]
    for path in (tmp_path / "clip-pt").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [place for place in told if place in content], path
            assert b"/tmp/" not in content, path


def test_once_pushed_open_clip_loads_it_by_its_name(
    a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's cache, filled as a download would: open_clip, offline, is given nothing but the name."""
    from huggingface_hub import constants

    expected = load_clip(str(a_run)).embed_texts(TEXTS)
    push(a_run, tmp_path / "clip-pt", "me/clip-pt")
    cached = tmp_path / "hf" / "hub" / "models--me--clip-pt"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots").mkdir()
    (tmp_path / "clip-pt").rename(cached / "snapshots" / ("0" * 40))
    shutil.rmtree(a_run)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    assert constants.HF_HUB_OFFLINE
    model, _, _ = open_clip.create_model_and_transforms("hf-hub:me/clip-pt")
    embedded = plain_texts(model, open_clip.get_tokenizer("hf-hub:me/clip-pt"))
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "has", "has_not", "said"),
    [
        ("mclip", "text/modules.json", "open_clip_config.json", "open_clip cannot express M-CLIP's text towers"),
        ("clip", "open_clip_config.json", "text", "text/ and image/ are not written: sentence-transformers"),
    ],
)
def test_a_form_that_cannot_express_a_tower_is_left_out_and_it_is_said(
    family: str,
    has: str,
    has_not: str,
    said: str,
    shards: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from huggingface_hub import metadata_load

    run = taught(FAMILIES[family](tmp_path / "model"), shards(pairs(20)), tmp_path / "runs")
    folder = tmp_path / "hub"
    push(run.path, folder)
    assert said in capsys.readouterr().err
    assert (folder / has).is_file() and not (folder / has_not).exists()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert ("hf-hub:ORG/NAME" in (folder / "README.md").read_text()) == (family == "clip")
    library = {"mclip": "sentence-transformers", "clip": "open_clip"}[family]
    assert metadata_load(folder / "README.md")["library_name"] == library
    places = [path for path in folder.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]
    assert places == []


def test_an_adapter_that_cannot_be_merged_is_not_for_the_hub(
    tiny: Path, shards: Callable[..., Path], tmp_path: Path
) -> None:
    run = trained(tiny, shards, tmp_path, peft="soft-prompt")
    with pytest.raises(CapivaraError, match="the parameters of --peft soft-prompt cannot be merged"):
        push(run, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hf": "a", "to": "b"}, "--to and --hf both name the folder"),
        ({"to": "b", "repo": "me/x"}, "--repo only goes with --hf"),
        ({"hf": "a", "repo": "x"}, "--repo x: a name on the hub is ORG/NAME"),
        ({}, "export needs one run and --out"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export.run(["runs/x"], Options(**options), Env(Settings(), "export"))


@pytest.mark.parametrize(("option", "folder"), [("hf", "a"), ("to", "b")])
def test_out_and_another_option_for_the_folder_do_not_go_together(option: str, folder: str) -> None:
    with pytest.raises(UsageError, match=f"--out and --{option} both name the folder"):
        export.run(["runs/x"], Options(**{option: folder}), Env(Settings(out="c"), "export"))
