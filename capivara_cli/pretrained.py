"""Models of transformers by name: a folder, or a repository of the Hugging Face hub that is downloaded on first use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import hub
from capivara_cli.errors import CapivaraError

LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError)
"""What transformers raises for a folder that is damaged, incomplete or of another kind."""

_FILES = (("config.json",), ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"))
_EXTRAS = (*hub.TOKENIZER_FILES, "*.json", "*.jinja", "model-*-of-*.safetensors")


@dataclass(frozen=True)
class Wanted:
    """A model and what to say when it cannot be had: ``size`` to download, ``ways`` to go on without."""

    name: str
    what: str
    size: str = ""
    ways: tuple[str, ...] = ()


def folder(wanted: Wanted) -> Path:
    """The folder of a model: a path as it is, else the hub's. ``CapivaraError`` when it is not to be had."""
    name = wanted.name
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CapivaraError(f"{path}: has no config.json", "a folder has to be as save_pretrained writes it")
        return path
    if name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise CapivaraError(f"{name}: there is no such folder, and it is no ORG/NAME of the Hugging Face hub")
    return hub.folder(hub.Need(name, _FILES, _EXTRAS, wanted.what, wanted.size, wanted.ways))


def label(name: str, folder: Path) -> str:
    """What is stored in a caption's ``by``: ORG/NAME, of a local model the name of its folder."""
    return folder.resolve().name if Path(name).expanduser().is_dir() else name


def number_type(device: str) -> Any:
    """float16 on a CUDA device, float32 elsewhere: half precision is slow or missing there."""
    import torch

    return torch.float16 if device.startswith("cuda") else torch.float32


def without_bars() -> None:
    """transformers draws a bar for every model it loads from disk, over the lines of the other commands of a pipe."""
    from transformers.utils import logging

    logging.disable_progress_bar()
