"""``doctor``: what it says of this machine, and that nothing broken stops it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from support.made import ROOT

from capivara_cli import __version__, console, registry
from capivara_cli.commands.doctor import Options, doctor
from capivara_cli.commands.doctoring import caches, extras, machine, ready
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip_files import DEFAULT_MODEL, DEFAULT_REPO
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and empty caches of all else."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "argos"))
    ready._has_downloads.cache_clear()
    return tmp_path / "hub"


def cached(hub: Path, repo: str, **files: object) -> None:
    """Put a repository into the cache of the hub, as if it had been downloaded."""
    folder = hub / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    for name, content in files.items():
        (folder / "snapshots" / "abc" / name).write_text(json.dumps(content))


def run(json: bool = False) -> dict[str, Any]:
    env = Env(Settings(), "doctor")
    env.json = json
    return doctor.run([], Options(), env)


def test_what_it_says_of_an_empty_machine(
    hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It uses no network and writes nothing."""

    def refuse(*given: object) -> None:
        raise AssertionError("doctor uses the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(registry, "names", lambda kind: ["argos", "toy"] if kind == "translators" else [])
    found = run()
    page = capsys.readouterr().out
    assert page.startswith(f"capivara {__version__}, Python ")
    assert found["versions"]["torch"] and found["versions"]["transformers"]
    assert found["devices"][-1]["device"] == "cpu" and found["devices"][-1]["precision"] in ("fp32", "bf16")
    assert found["ready"] == {
        "models": ["toy"],
        "captioners": ["toy"],
        "translators": {"toy": ["en-hi", "en-pt", "en-xh", "pt-en"], "identity": ["any pair"]},
        "evalsets": [],
        "evalsets_not_looked_at": [],
    }
    assert 0 < found["memory"]["free"] <= found["memory"]["total"]
    assert sum(each["what"].count("this folder") for each in found["disks"]) == 1
    assert {each["cache"]: each["bytes"] for each in found["caches"]}["Hugging Face hub"] == 0
    assert [*tmp_path.iterdir()] == []
    assert run(json=True).keys() == found.keys()
    assert capsys.readouterr().out == ""  # the program prints it


def test_the_page_fits_the_terminal(
    hub: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(hub, "somebody/with-a-very-long-name-of-a-model", **{"model.safetensors": "x" * 2000})
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    run()
    assert max(map(len, capsys.readouterr().out.splitlines()[1:])) <= 80


def test_models_and_captioners_with_weights_are_ready(hub: Path) -> None:
    cached(hub, DEFAULT_REPO, **{"open_clip_config.json": {}, "open_clip_pytorch_model.bin": ""})
    cached(hub, "timm/half", **{"open_clip_config.json": {}, "open_clip_pytorch_model.bin.index.json":
                                {"weight_map": {"a": "1.bin", "b": "2.bin"}}, "1.bin": ""})  # fmt: skip
    cached(hub, "timm/whole", **{"open_clip_config.json": {}, "model.safetensors": ""})
    cached(hub, "M-CLIP/tower", **{"config.json": {}, "pytorch_model.bin": ""})
    cached(hub, "org/blip", **{"config.json": {"architectures": ["Blip2ForConditionalGeneration"]}, "model.bin": ""})
    cached(hub, "org/smol", **{"config.json": {"architectures": ["XForConditionalGeneration"], "vision_config": {}},
                               "model.safetensors": ""})  # fmt: skip
    cached(hub, "org/no-weights", **{"config.json": {}})
    cached(hub, "org/damaged", **{"model.safetensors": ""})
    (hub / "models--org--damaged" / "snapshots" / "abc" / "config.json").write_text("{")
    assert ready.models() == ["toy", "mclip:tower", "hf-hub:timm/whole"]  # the default lacks its text tower
    cached(hub, "xlm-roberta-base", **{"config.json": {}, "tokenizer.json": {}})
    assert DEFAULT_MODEL in ready.models()
    assert ready.captioners() == ["toy", "blip2:org/blip", "hf:org/smol"]


def test_translators_are_ready_by_pair(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "argos" / "translate-en_pt"
    (package / "model").mkdir(parents=True)
    (package / "metadata.json").write_text('{"from_code": "en", "to_code": "pt"}')
    cached(hub, "Helsinki-NLP/opus-mt-en-xh", **{"pytorch_model.bin": ""})
    cached(hub, "facebook/nllb-200-distilled-600M", **{"pytorch_model.bin": ""})
    monkeypatch.setattr(registry, "entry_points", lambda kind: {})
    monkeypatch.setenv("PATH", "")  # no apertium
    found = ready.translators()
    assert {name: found[name] for name in found if name not in ("toy", "identity")} == {
        "argos": ["en-pt"],
        "nllb": ["any pair of its languages"],
        "opus": ["en-xh"],
    }


def test_what_is_broken_is_named_and_the_rest_is_shown(
    hub: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin, a cache that cannot be read, and a library whose import fails."""

    def broken(*given: object) -> Any:
        raise OSError(13, "Permission denied")

    def no_torch() -> Any:
        raise ImportError("libcudart.so: cannot open")

    def entry_points(kind: str) -> dict[str, Any]:
        class Entry:
            name, value, module, package, is_reference = "mine", "mine:broken", "mine", "", True

            @staticmethod
            def load() -> None:
                raise RuntimeError("no licence file")

        return {"mine": [Entry()]} if kind == "translators" else {}

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setitem(caches._PLACES, "torch", broken)
    monkeypatch.setattr(machine, "devices", no_torch)
    found = run()
    out, err = capsys.readouterr()
    assert "warning: translator mine: RuntimeError: no licence file" in err
    assert "warning: devices: ImportError: libcudart.so: cannot open" in err
    assert found["devices"] == [] and "Permission denied" in out
    assert found["ready"]["models"] == ["toy"] and "extras" in out


def test_the_sizes_of_caches_do_not_count_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models--a--b" / "blobs").mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs" / "1").write_bytes(b"x" * 1000)
    (tmp_path / "models--a--b" / "link").symlink_to("blobs/1")
    (tmp_path / "file").write_bytes(b"x" * 10)
    monkeypatch.setattr(caches, "_PLACES", {"one": lambda: tmp_path, "none": lambda: tmp_path / "absent"})
    one, none = caches.caches()
    assert (one["bytes"], one["parts"], one["complete"]) == (1010, {"a/b": 1000, "file": 10}, True)
    assert (none["bytes"], none["parts"], none["problem"]) == (0, {}, "")
    monkeypatch.setattr(caches, "_SECONDS", -1.0)
    assert caches.caches()[0]["complete"] is False


def test_eval_sets_that_were_downloaded_are_tried(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from capivara_cli.evaluation import catalogue

    tried = []

    def load(name: str, **given: object) -> None:
        tried.append(name)
        if name != "toy":
            raise CapivaraError("not here")

    monkeypatch.setattr(catalogue, "load", load)
    assert ready.evalsets() == (["toy"], []) and tried == ["toy"]
    (hub / "datasets--a--b").mkdir(parents=True)
    ready._has_downloads.cache_clear()
    assert ready.evalsets() == (["toy"], []) and set(tried) == set(catalogue.names())


def test_every_extra_of_the_package_is_listed() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8").partition("[project.optional-dependencies]")[2]
    declared = set(re.findall(r"^([a-z0-9]+) = \[", text.partition("\n[")[0], re.MULTILINE))
    assert declared - {"dev", "docs"} == set(extras.EXTRAS)
    assert {each["extra"]: each["installed"] for each in extras.extras()}["parquet"] is True
