"""Model folders by strangers: no code in them runs, no file outside them is touched, and malformed ones are refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.made import ROOT
from support.tiny import tiny_clip

from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import TOY, load_clip
from capivara_cli.models.generation import Setup

MODELS = TOY.parent
SAFE = "open_clip_model.safetensors"


class Payload:
    """Creates a file when it is unpickled: loading it has run a stranger's code."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "owned"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("good") / "clip")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A good open_clip folder to spoil."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def change(path: Path, make: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_bytes())
    make(document)
    path.write_text(json.dumps(document))


def write_payload(path: Path, trace: Path, zipped: bool) -> None:
    if zipped:
        torch.save({"a": Payload(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Payload(trace)}))


def test_the_payload_works(trace: Path) -> None:
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.is_dir()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "pytorch_model.bin"])
def test_pickled_clip_weights_are_not_run(name: str, zipped: bool, folder: Path, trace: Path) -> None:
    (folder / SAFE).unlink()
    write_payload(folder / name, trace, zipped)
    with pytest.raises(CapivaraError, match=f"{name}: cannot be loaded"):
        load_clip(f"local-dir:{folder}")
    assert not trace.exists()


def test_safetensors_are_preferred(folder: Path, good: Path, trace: Path) -> None:
    for name in ("open_clip_pytorch_model.bin", "pytorch_model.bin"):
        write_payload(folder / name, trace, True)
    assert load_clip(str(folder)).identity.weights == load_clip(str(good)).identity.weights
    assert not trace.exists()


def test_a_file_of_weights_by_name_is_not_run(tmp_path: Path, trace: Path) -> None:
    write_payload(tmp_path / "w.pt", trace, True)
    with pytest.raises(CapivaraError, match=r"w\.pt: cannot be loaded"):
        load_clip("ViT-B-32", str(tmp_path / "w.pt"))
    assert not trace.exists()


def test_an_adapter_that_is_a_pickle_is_not_run(folder: Path, tmp_path: Path, trace: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter", folder)
    write_payload(adapter / "adapter_model.bin", trace, True)
    with pytest.raises(CapivaraError, match="the adapter cannot be loaded"):
        load_clip(str(adapter))
    assert not trace.exists()


def an_adapter(path: Path, base: Path, **config: Any) -> Path:
    """The configuration of a LoRA for a folder's model."""
    path.mkdir()
    clip = load_clip(f"local-dir:{base}")
    said = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "lora_dropout": 0.0, "target_modules": ["query"], **config}
    (path / "adapter_config.json").write_text(json.dumps(said))
    source = {"model": f"local-dir:{base}", "pretrained": ""}
    digests = {"image": clip.identity.weights, "text": clip.text_digest}
    (path / "base.json").write_text(json.dumps({"source": source, **digests}))
    return path


@pytest.mark.parametrize("kind", ["captioner", "rewriter"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_of_transformers_are_not_run(kind: str, zipped: bool, tmp_path: Path, trace: Path) -> None:
    path = Path(shutil.copytree(MODELS / kind, tmp_path / kind))
    (path / "model.safetensors").unlink()
    write_payload(path / "pytorch_model.bin", trace, zipped)
    with pytest.raises(CapivaraError, match="cannot be loaded"):
        plugin(kind, path)
    assert not trace.exists()


def plugin(kind: str, path: Path) -> Any:
    from capivara_cli.stages.captioners import hf
    from capivara_cli.stages.rewriters import llm

    if kind == "captioner":
        return hf.load(str(path), setup=Setup("cpu"))
    from transformers import AutoModelForCausalLM

    from capivara_cli.models import transformers_models

    del llm
    return transformers_models.load_model(AutoModelForCausalLM, path, Setup("cpu"))


@pytest.mark.parametrize("kind", ["captioner", "rewriter"])
def test_code_beside_a_model_is_not_run(kind: str, tmp_path: Path, trace: Path) -> None:
    """``auto_map`` names classes in a file of the folder; it is run with trust_remote_code alone."""
    path = Path(shutil.copytree(MODELS / kind, tmp_path / kind))
    (path / "evil.py").write_text(f"import os\nos.mkdir({str(trace)!r})\nclass Evil: pass\n")
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoProcessor")
    remote = {name: "evil.Evil" for name in classes}
    change(path / "config.json", lambda said: said.update(auto_map=remote, model_type="evil"))
    change(path / "tokenizer_config.json", lambda said: said.update(auto_map={"AutoTokenizer": ["evil.Evil", None]}))
    with pytest.raises(CapivaraError):
        plugin(kind, path)
    assert not trace.exists()


def test_code_beside_a_clip_is_not_run(folder: Path, trace: Path) -> None:
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(trace)!r})\nclass Evil: pass\n")
    change(
        folder / "config.json", lambda said: said.update(auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    )
    change(folder / "tokenizer_config.json", lambda said: said.update(auto_map={"AutoTokenizer": ["evil.Evil", None]}))
    load_clip(str(folder))
    assert not trace.exists()


def test_the_text_tower_is_the_folders_own_wherever_the_configuration_points(folder: Path, good: Path) -> None:
    for place in ("/etc", "../../../etc", "/nowhere/at/all", "someone/elses-model"):
        names = {"hf_model_name": place, "hf_tokenizer_name": place}
        change(folder / "open_clip_config.json", lambda said, names=names: said["model_cfg"]["text_cfg"].update(names))
        assert load_clip(str(folder)).text_digest == load_clip(str(good)).text_digest


def test_a_folder_without_its_own_text_tower_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    for place, message in (
        ("/etc", "is not the name of a hub"),
        ("../../etc", "is not the name of a hub"),
        ("a/b", "HF_HUB_OFFLINE"),
    ):
        names = {"hf_model_name": place}
        change(folder / "open_clip_config.json", lambda said, names=names: said["model_cfg"]["text_cfg"].update(names))
        with pytest.raises(CapivaraError, match=message):
            load_clip(str(folder))


@pytest.mark.parametrize(
    ("where", "values"),
    [
        ("vision_cfg", {"width": 1 << 24}),
        ("vision_cfg", {"layers": 10_000_000}),
        ("vision_cfg", {"image_size": 1 << 20}),
        ("vision_cfg", {"width": -1}),
        ("vision_cfg", {"width": "wide"}),
        ("vision_cfg", {"patch_size": 0}),
        ("vision_cfg", {"timm_model_name": "no_such_model"}),
        ("text_cfg", {"hf_pooler_type": "os.system"}),
        ("", {"embed_dim": 1 << 40}),
        ("", {"embed_dim": "x"}),
        ("", {"embed_dim": 17}),
    ],
)
def test_absurd_sizes_are_refused_in_little_memory(where: str, values: dict[str, Any], folder: Path) -> None:
    import resource

    def absurd(said: dict[str, Any]) -> None:
        (said["model_cfg"][where] if where else said["model_cfg"]).update(values)

    change(folder / "open_clip_config.json", absurd)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CapivaraError) as caught:
        load_clip(str(folder))
    assert str(folder) in caught.value.message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20, "KiB"


def test_an_absurd_text_tower_is_refused(folder: Path) -> None:
    change(folder / "config.json", lambda said: said.update(vocab_size=1 << 40))
    with pytest.raises(CapivaraError, match=r"config\.json: vocab_size is 1099511627776; it must be from 1 to"):
        load_clip(str(folder))


@pytest.mark.parametrize("tower", ["visual", "text"])
def test_weights_that_are_not_numbers_are_refused(tower: str, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / SAFE)
    name = next(each for each in state if each.startswith(f"{tower}."))
    save_file({**state, name: torch.full_like(state[name], float("nan"))}, folder / SAFE)
    found = name.removeprefix(f"{tower}.")
    with pytest.raises(CapivaraError, match=f"{SAFE}: damaged: '{found}' has NaN values"):
        assert load_clip(str(folder)).text_digest


def test_a_link_is_followed_and_never_written_through(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    (folder / SAFE).rename(outside)
    (folder / SAFE).symlink_to(outside)
    before = outside.read_bytes()
    load_clip(str(folder))
    assert outside.read_bytes() == before and (folder / SAFE).is_symlink()
    (folder / SAFE).unlink()
    (folder / SAFE).symlink_to("/dev/zero")
    with pytest.raises(CapivaraError, match="no weights"):
        load_clip(str(folder))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "EVIL"}, "cannot be loaded"),
        ({"target_modules": ["no_such"]}, "cannot be loaded"),
        ({"r": -1}, "cannot be loaded"),
        ({"r": 1 << 50}, "cannot be loaded"),
    ],
)
def test_the_configuration_of_an_adapter(config: dict[str, Any], message: str, folder: Path, tmp_path: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter", folder, **config)
    (adapter / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(CapivaraError, match=message) as caught:
        load_clip(str(adapter))
    assert str(adapter) in caught.value.message


def test_classes_that_an_adapter_names_are_not_imported(folder: Path, tmp_path: Path) -> None:
    """The base is the one of ``base.json`` with its checksums; peft imports no class that ``auto_mapping`` names."""
    named = {"base_model_class": "system", "parent_library": "os"}
    adapter = an_adapter(tmp_path / "adapter", folder, base_model_name_or_path="../../etc", auto_mapping=named)
    (adapter / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    clip = load_clip(str(adapter))
    assert clip.embed_texts(["a red dog"]).shape == (1, 16)


def test_an_adapter_of_another_base_is_refused(folder: Path, tmp_path: Path) -> None:
    adapter = an_adapter(tmp_path / "adapter", folder)
    (adapter / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    change(adapter / "base.json", lambda said: said.update(text="sha256:0000"))
    with pytest.raises(CapivaraError, match="whose text tower has changed"):
        load_clip(str(adapter))
    for damaged in ("[]", '{"source": 5}', '{"source": {}}', '{"source": {"model": "toy", "pretrained": ""}}', "{"):
        (adapter / "base.json").write_text(damaged)
        with pytest.raises(CapivaraError, match=r"base\.json: damaged"):
            load_clip(str(adapter))


def test_chat_templates_run_in_a_sandbox(tmp_path: Path, trace: Path) -> None:
    from jinja2.exceptions import SecurityError
    from transformers import AutoTokenizer

    path = Path(shutil.copytree(MODELS / "rewriter", tmp_path / "rewriter"))
    (path / "chat_template.jinja").write_text(
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.mkdir('" + str(trace) + "') }}"
    )
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    with pytest.raises(SecurityError):
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["../evil", "/abs/evil", "a/../../evil", "..\\evil"])
def test_a_translation_package_that_points_outside_is_refused(name: str, tmp_path: Path) -> None:
    from capivara_cli.stages.translators._package import unpack

    with zipfile.ZipFile(tmp_path / "x.argosmodel", "w") as archive:
        archive.writestr(name, "boo")
    with pytest.raises(CapivaraError, match="points outside the package"):
        unpack(tmp_path / "x.argosmodel")
    assert not list(tmp_path.rglob("evil"))


def test_a_link_in_a_translation_package_is_not_followed(tmp_path: Path) -> None:
    from capivara_cli.stages.translators._package import unpack

    with zipfile.ZipFile(tmp_path / "x.argosmodel", "w") as archive:
        link = zipfile.ZipInfo("p/model/secret")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("p/metadata.json", json.dumps({"from_code": "en", "to_code": "pt"}))
    folder = unpack(tmp_path / "x.argosmodel")
    assert not (folder / "model" / "secret").is_symlink()
    assert (folder / "model" / "secret").read_text() == "/etc/passwd"  # the text, not the file


def test_a_translation_package_that_announces_too_much_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    from capivara_cli.stages.translators import _package

    monkeypatch.setattr(_package, "_MAX_UNPACKED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "x.argosmodel", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/metadata.json", bytes(2 << 20))
    with pytest.raises(CapivaraError, match="refused: it unpacks to more than"):
        _package.unpack(tmp_path / "x.argosmodel")


@pytest.mark.parametrize("spoilt", ["model.bin", "config.json", "metadata.json", "sentencepiece.model"])
def test_a_damaged_translation_package_is_named(spoilt: str, tmp_path: Path) -> None:
    from capivara_cli.stages.translators import argos

    package = tmp_path / "packages"
    with zipfile.ZipFile(MODELS / "translators" / "translate-en_pt.argosmodel") as archive:
        archive.extractall(package)
    (found,) = package.rglob(spoilt)
    found.write_bytes(b"\xff not this")
    with pytest.raises(CapivaraError) as caught:
        argos.load(str(package), source="en", target="pt", setup=Setup("cpu"))(["a red square"])
    assert spoilt.partition(".")[0] in caught.value.message or "model: cannot be loaded" in caught.value.message


@pytest.mark.parametrize("name", ["nllb", "opus", "m2m100", "madlad"])
def test_a_folder_that_is_no_translator_is_refused(name: str, tmp_path: Path, trace: Path) -> None:
    from capivara_cli import registry

    folder = Path(shutil.copytree(MODELS / "rewriter", tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    write_payload(folder / "pytorch_model.bin", trace, True)
    with pytest.raises(CapivaraError) as caught:
        registry.module("translators", name).load(str(folder), source="en", target="pt", setup=Setup("cpu"))
    assert str(folder) in caught.value.message or "model" in caught.value.message
    assert not trace.exists()


def test_a_checkpoint_of_training_that_is_a_pickle_is_not_run(tmp_path: Path, trace: Path) -> None:
    from capivara_cli.models.adapters import methods

    (tmp_path / "adapter_config.json").write_text("{}")
    write_payload(tmp_path / "adapter_model.bin", trace, True)
    with pytest.raises(pickle.UnpicklingError):
        methods.read_state(tmp_path)
    assert not trace.exists()


def test_nothing_loads_pickles_without_weights_only() -> None:
    """Every ``torch.load`` and ``np.load`` of the package forbids pickles by name."""
    import ast

    package = ROOT / "capivara_cli"
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load"):
                continue
            owner = getattr(node.func.value, "id", "")
            given = {each.arg: getattr(each.value, "value", None) for each in node.keywords}
            if owner == "torch":
                assert given.get("weights_only") is True, f"{path}:{node.lineno}"
            if owner in ("np", "numpy"):
                assert given.get("allow_pickle", False) is False, f"{path}:{node.lineno}"
            assert owner not in ("pickle", "marshal", "joblib"), f"{path}:{node.lineno}"
        assert "trust_remote_code=True" not in path.read_text("utf-8"), path
    assert np.__name__ == "numpy"
