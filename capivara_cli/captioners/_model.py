"""What captioners share: the paper's prefixes, where the models come from, and what to say when they cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capivara_cli import hub
from capivara_cli.errors import CapivaraError

PREFIXES = (
    "the foreground features",
    "a photo of",
    "a picture of",
    "this is a scene depicting",
    "an image of",
    "portrait of a",
    "this image captures a moment of",
    "a painting of",
    "an art of",
    "the picture shows",
)
"""The ten prefixes of CAPIVARA (arXiv 2310.13683), in its order; one caption is made to continue each."""

MAX_NEW_TOKENS = 50

_FILES = (("config.json",), ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"))
_EXTRAS = (*hub.TOKENIZER_FILES, "*.json", "*.jinja", "model-*-of-*.safetensors")

LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError)
"""What transformers raises for a folder that is damaged, incomplete or of another kind."""


def model_folder(name: str, size: str, option: str) -> Path:
    """The folder of a model: a path as it is, else a hub repository, downloaded on first use."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CapivaraError(
                f"{path}: has no config.json", f"{option}:PATH takes a folder as save_pretrained writes"
            )
        return path
    if name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise CapivaraError(f"{name}: there is no such folder, and it is no ORG/NAME of the Hugging Face hub")
    ways = (
        f"--captioner {option}:PATH takes a folder with the model",
        "--captioner hf:ORG/NAME takes any other image-to-text model",
        "--captioner toy takes the small one that is part of capivara (it knows drawn shapes only)",
    )
    return hub.folder(hub.Need(name, _FILES, _EXTRAS, "the captioner's weights", size, ways))


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
