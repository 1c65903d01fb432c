"""Build open_clip models fast and with little memory: no random initialisation, no second copy of the weights.

The weights file is mapped into memory, so an unused tower takes none, and a tower that is converted to another dtype
is read once.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import logging
import mmap
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from capivara_cli import __version__
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip_files import HINTS, ClipFiles
from capivara_cli.storage import cache
from capivara_cli.storage.files import replace_text

_LARGE = 1 << 16
_SLICE = 1 << 24
_FILLING = {"normal_", "uniform_", "trunc_normal_", "erfinv_", "mul_", "add_", "clamp_"}


class SkippedInitialisation(TorchFunctionMode):
    """A context in which large tensors are not filled with random numbers, so their memory is never touched."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        tensor = args[0] if args else given.get("tensor")  # torch.nn.init passes it by name
        if getattr(func, "__name__", "") in _FILLING and isinstance(tensor, Tensor) and tensor.numel() >= _LARGE:
            return tensor
        return func(*args, **given)


def build(files: ClipFiles) -> Any:
    """Build an open_clip model with its weights: on the CPU, float32, in evaluation mode, all parameters frozen.

    Raises ``CapivaraError`` if the weights are damaged or belong to another model.
    """
    from open_clip.factory import create_model

    overrides: dict[str, Any] = {}
    if files.text_folder is not None:
        text = {**files.config["text_cfg"], "hf_model_name": str(files.text_folder), "hf_model_pretrained": False}
        overrides["text_cfg"] = text
    try:
        with SkippedInitialisation(), _without_warnings():
            model = create_model(
                files.name,
                load_weights=False,
                force_custom_text=True,  # the text tower of every model is then model.text
                force_quick_gelu=files.quick_gelu,
                force_preprocess_cfg=files.preprocess,
                pretrained_text=False,
                **overrides,
            )
        _fill(model, files.weights)
    except loading_errors() as error:
        raise CapivaraError(f"{files.weights}: cannot be loaded: {shortened(error)}", "\n".join(HINTS)) from error
    return model.eval().requires_grad_(False)


def padding(text: Any, tokenizer: Any) -> int | None:
    """The token that pads rows of a text tower without changing their embeddings; None if rows must have full length.

    Hugging Face towers mask padding. open_clip's causal towers embed the end-of-text token, which does not depend on
    later tokens; they are changed here to accept shorter rows.
    """
    if (config := getattr(text, "config", None)) is not None:
        return config.pad_token_id
    causal = getattr(text, "attn_mask", None) is not None and getattr(text, "pool_type", "") in ("argmax", "eos")
    if not causal or text.use_pad_mask or text.cls_emb is not None:
        return None
    text.transformer.register_forward_pre_hook(_short_mask, with_kwargs=True)
    own = getattr(tokenizer, "tokenizer", None)  # the Hugging Face tokenizer; open_clip's own pads with 0
    return 0 if own is None else own.pad_token_id


def _short_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Cut the causal mask, which has the full context length, to the length of the rows."""
    length = args[0].shape[1]
    return args, {**kwargs, "attn_mask": kwargs["attn_mask"][:length, :length]}


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress open_clip's warning that no weights are loaded, because they are loaded next."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _fill(model: nn.Module, weights: Path) -> None:
    """Load weights as open_clip does, with its conversions of old formats, but without copying tensors."""
    from open_clip.factory import load_checkpoint

    model.load_state_dict = partial(model.load_state_dict, assign=True)  # type: ignore[method-assign]
    try:
        with _mapped():
            load_checkpoint(model, str(weights))
    finally:
        del model.load_state_dict
    for parameter in model.parameters():
        if parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
        elif parameter.numel() < _LARGE:
            parameter.data = parameter.data.clone()  # a small tensor in the file would keep the whole file mapped


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Make ``torch.load`` map files into memory within this context, as safetensors always does."""
    try:
        from torch.utils.serialization import config
    except ImportError:  # torch before 2.6
        yield
        return
    before, config.load.mmap = config.load.mmap, True
    try:
        yield
    finally:
        config.load.mmap = before


def loading_errors() -> tuple[type[Exception], ...]:
    """The exceptions that loaders raise for files that are truncated, have other shapes, or are not weights."""
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    of_file = (OSError, EOFError, UnpicklingError, SafetensorError)
    of_content = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError)
    return (RuntimeError, MemoryError, *of_file, *of_content)


def shortened(error: Exception) -> str:
    """The message of an error, at most 300 characters: torch lists every parameter that does not fit."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"


def digest(tower: nn.Module, *, forget: bool = False) -> str:
    """The sha256 of the parameters and buffers of a tower, whatever the path or format of its files.

    ``forget``: release the memory of each tensor after reading it; the tower cannot be used afterwards. Raises
    ``CapivaraError`` if a value is NaN.
    """
    found = hashlib.sha256()
    state = tower.state_dict()
    uses = Counter(tensor.data_ptr() for tensor in state.values())
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        for part in tensor.detach().cpu().contiguous().flatten().split(_SLICE // 4):
            if part.is_floating_point() and not torch.isfinite(part.sum(dtype=torch.float64)):
                _check_not_nan(name, part)
            data = part.view(torch.uint8)
            found.update(data.numpy())
            if forget and uses[tensor.data_ptr()] == 1:  # a tensor with two names is read twice
                _forget(data)
    return f"sha256:{found.hexdigest()}"


def _check_not_nan(name: str, part: Tensor) -> None:
    """Raise ``CapivaraError`` for NaN. Infinities are valid: causal masks have them."""
    if torch.isnan(part).any():
        raise CapivaraError(f"the weights are damaged: {name!r} has NaN values")


def _forget(data: Tensor) -> None:
    """Release the memory pages that are completely within a tensor (Linux). A later use reads them from the file."""
    page = mmap.PAGESIZE
    start = -(-data.data_ptr() // page) * page
    length = (data.data_ptr() + data.numel()) // page * page - start
    if sys.platform == "linux" and length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def known_digest(which: str, files: ClipFiles) -> str:
    """The ``digest`` of the "visual" or "text" tower of a model, cached by its weights file.

    It is computed on a second model: reading all weights of a file brings them into memory, where they would stay as
    long as one tensor of the file is in use. Raises ``CapivaraError`` for damaged weights.
    """
    info = files.weights.stat()
    key = [__version__, which, files.name, str(files.weights.resolve()), info.st_size, info.st_mtime_ns, info.st_ino]
    path = cache.folder() / "digests" / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    with contextlib.suppress(OSError):
        found = path.read_text("utf-8")
        if found.startswith("sha256:") and len(found) == 71:
            return found
    try:
        found = digest(getattr(build(files), which), forget=True)
    except CapivaraError as error:
        raise CapivaraError(error.message.replace("the weights are", f"{files.weights}:"), error.hint) from error
    with contextlib.suppress(OSError):  # without a cache the digest is only computed again
        replace_text(path, found)
    return found
