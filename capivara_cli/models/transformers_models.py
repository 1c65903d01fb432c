"""Models of transformers by name: a folder, or a repository of the Hugging Face hub that is downloaded on first use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

from capivara_cli.errors import CapivaraError
from capivara_cli.models import hub
from capivara_cli.models.generation import Setup
from capivara_cli.pipeline.device import resolved

LOAD_ERRORS = (
    OSError, ValueError, KeyError, IndexError, RuntimeError, TypeError, AttributeError, ImportError, EOFError,
    ArithmeticError, AssertionError, MemoryError, UnpicklingError, SafetensorError,
)  # fmt: skip
"""What transformers raises for a folder that is damaged, incomplete, hostile or of another kind."""

_FILES = (("config.json",), ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "model.bin"))
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


def number_type(device: str, half: str = "float16") -> Any:
    """``half`` on a CUDA device, or float16 where it has no bfloat16; float32 elsewhere: half is slow there."""
    import torch

    if not device.startswith("cuda"):
        return torch.float32
    wide = half == "bfloat16" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if wide else torch.float16


def load_model(kind: Any, folder: Path, setup: Setup, half: str = "float16") -> Any:
    """``kind.from_pretrained(folder)`` where and how the setup says, ready to be asked.

    ``half`` is the number type on CUDA: float16 has the finer steps, bfloat16 the range that language models trained
    in it need (Gemma, Qwen). ``CapivaraError`` when the folder holds something else or is damaged, or when quantised
    weights cannot be had.
    """
    device = resolved(setup.device)
    given: dict[str, Any] = {"dtype": number_type(device, half), "local_files_only": True}
    if setup.bits:
        given |= {"quantization_config": _quantised(setup.bits, device), "device_map": {"": device}}
    without_bars()
    try:
        model, report = kind.from_pretrained(folder, output_loading_info=True, **given)
    except LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as {kind.__name__}: {error}") from error
    missing = report["missing_keys"]  # a pooler that is not used may be; but transformers fills in all with chance
    if 2 * len(missing) > len(model.state_dict()):
        raise CapivaraError(
            f"{folder}: holds weights of another form than {type(model).__name__} has: {len(missing)} are missing",
            "is there a version of the model for transformers itself (Florence-2: florence-community/Florence-2-base)?",
        )
    model = (model if setup.bits else model.to(device)).eval()
    if setup.compile:
        for part in model.children():  # a part may be called without the whole: the image encoder, the text decoder
            part.compile(dynamic=True)  # texts grow: one program for all lengths, or it stops after eight
    return model


def _quantised(bits: int, device: str) -> Any:
    """What transformers needs to load weights in 8 or 4 bits; without bitsandbytes or CUDA it says so late and long."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None or not device.startswith("cuda"):
        raise CapivaraError(
            f"--bits {bits}: needs the package bitsandbytes and a CUDA device; the device is {device}",
            "pip install bitsandbytes, or leave --bits out",
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4)


def without_bars() -> None:
    """transformers draws a bar for every model it loads from disk, over the lines of the other commands of a pipe."""
    from transformers.utils import logging

    logging.disable_progress_bar()
