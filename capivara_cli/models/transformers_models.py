"""transformers models by name: a folder, or a repository of the Hugging Face hub, downloaded on first use."""

from __future__ import annotations

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
"""The exceptions of transformers for a folder that is damaged, incomplete, hostile or of another kind."""

_FILES = (("config.json",), ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "model.bin"))
_EXTRAS = (*hub.TOKENIZER_FILES, "*.json", "*.jinja", "model-*-of-*.safetensors")


def folder(name: str, what: str, size: str = "", hints: tuple[str, ...] = ()) -> Path:
    """The folder of a model: a local path, or downloaded from the hub. Raises ``CapivaraError`` if that fails.

    The error says ``what`` is missing, the ``size`` of the download, and in ``hints`` how to continue without it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CapivaraError(f"{path}: has no config.json", "the folder must be one that save_pretrained wrote")
        return path
    if name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise CapivaraError(f"{name}: no such folder, and not an ORG/NAME of the Hugging Face hub")
    return hub.folder(hub.RepoFiles(name, _FILES, _EXTRAS, what, size, hints))


def label(name: str, folder: Path) -> str:
    """The name of a model for ``by`` of captions: ORG/NAME, or the name of a local folder."""
    return folder.resolve().name if Path(name).expanduser().is_dir() else name


def dtype_on(device: str, half: str = "float16") -> Any:
    """The dtype of weights: ``half`` on CUDA (float16 if the GPU lacks bfloat16), float32 elsewhere."""
    import torch

    if not device.startswith("cuda"):
        return torch.float32
    bfloat16 = half == "bfloat16" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if bfloat16 else torch.float16


def load_model(kind: Any, folder: Path, setup: Setup, half: str = "float16") -> Any:
    """Load ``kind.from_pretrained(folder)`` on the device and in the form of ``setup``, in evaluation mode.

    ``half`` is the dtype on CUDA: float16 is finer, but language models trained in bfloat16 (Gemma, Qwen) need its
    range. Raises ``CapivaraError`` if the folder is damaged or has another model, or if ``setup.bits`` cannot be used.
    """
    device = resolved(setup.device)
    given: dict[str, Any] = {"dtype": dtype_on(device, half), "local_files_only": True}
    if setup.bits:
        given |= {"quantization_config": _quantised(setup.bits, device), "device_map": {"": device}}
    without_bars()
    try:
        model, report = kind.from_pretrained(folder, output_loading_info=True, **given)
    except LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as {kind.__name__}: {error}") from error
    missing = report["missing_keys"]  # an unused pooler may be missing; transformers fills in missing weights at random
    if 2 * len(missing) > len(model.state_dict()):
        raise CapivaraError(
            f"{folder}: its weights do not fit {type(model).__name__}: {len(missing)} are missing",
            "is there a version of the model for transformers itself (Florence-2: florence-community/Florence-2-base)?",
        )
    model = (model if setup.bits else model.to(device)).eval()
    if setup.compile:
        for part in model.children():  # parts are also called alone: the image encoder, the text decoder
            part.compile(dynamic=True)  # texts grow: without dynamic shapes it stops compiling after eight lengths
    return model


def _quantised(bits: int, device: str) -> Any:
    """The settings for weights in 8 or 4 bits. Checked here, as the errors of transformers come late and are long."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None or not device.startswith("cuda"):
        raise CapivaraError(
            f"--bits {bits}: needs the package bitsandbytes and a CUDA device; the device is {device}",
            "pip install bitsandbytes, or omit --bits",
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=bits == 8, load_in_4bit=bits == 4)


def without_bars() -> None:
    """Turn off the progress bars of transformers: they overwrite the lines of other commands in a pipe."""
    from transformers.utils import logging

    logging.disable_progress_bar()
