"""A tiny random model of the real classes, built once; and run folders that know too little for a model card."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from capivara_cli import model_card


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder: a ViT and an XLM-RoBERTa text tower with random weights."""
    import torch

    torch.set_num_threads(1)
    path = Path(__file__).parents[1] / "training" / "tiny.py"
    spec = importlib.util.spec_from_file_location("evaluation_tiny", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.tiny_clip(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the run folders of ``standin.make_run``."""
    monkeypatch.setattr(model_card, "write", lambda folder: None)
