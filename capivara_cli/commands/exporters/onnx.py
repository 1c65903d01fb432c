"""both towers as ONNX, for every tuning method, checked with onnxruntime"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.models.run_folder import RunDir

_OPSET = 18
_PREPROCESSING = ("size", "mean", "std", "interpolation", "resize_mode")
_TOLERANCE = 1e-4
"""Largest difference between embeddings of length 1 by torch and by onnxruntime, in float32."""


class _Normalized(nn.Module):
    """A tower whose embeddings have length 1."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.tower(x), dim=-1)


def write(run: RunDir, folder: Path, final: Path) -> str:
    """Write both towers, the tokenizer, and ``capivara.json``, which describes how images and texts are prepared.

    ``text.onnx`` takes input_ids [n, length] int64, ``image.onnx`` pixel_values [n, 3, height, width] float32. Both
    return L2-normalised embeddings [n, dim]. Raises ``CapivaraError`` when onnxruntime and torch disagree.
    """
    _check_installed()
    clip = load_clip(str(run.path))
    rows = clip.tokenize(["a", "um gato na praia", "a photo of three dogs that run over a wide green field"])
    length = rows[0].size if clip.pad_id is None else None
    size = clip.model.visual.preprocess_cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    _convert(clip.model.text, clip.pad(rows), folder / "text.onnx", "input_ids", "text_embedding", length is None)
    _convert(clip.model.visual, torch.rand(2, 3, height, width), folder / "image.onnx", "pixel_values",
             "image_embedding", False)  # fmt: skip
    if hasattr(clip.tokenizer, "save_pretrained"):
        clip.tokenizer.save_pretrained(folder)
    (folder / "capivara.json").write_text(json.dumps(_described(clip, length), indent=2) + "\n", "utf-8")
    return f"load text.onnx and image.onnx with onnxruntime; {final}/capivara.json says how to prepare texts and images"


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CapivaraError(f"--format onnx: {error.name} is not installed", "pip install 'capivara[onnx]'") from error


def _described(clip: Clip, length: int | None) -> dict[str, Any]:
    scale = clip.model.logit_scale.exp().item()
    return {
        "image": {key: clip.model.visual.preprocess_cfg[key] for key in _PREPROCESSING},
        "text": {"longest": clip.tokenizer.context_length, "padded_to": length, "pad_id": clip.pad_id or 0},
        "logit_scale": scale,
        "dim": clip.dim,
        "translate_queries": clip.translate_queries or None,
    }


def _convert(tower: nn.Module, sample: Tensor, path: Path, given: str, named: str, any_length: bool) -> None:
    """Write one tower and compare it with torch, on the sample and on another number (and length) of rows."""
    model = _Normalized(tower).eval()
    axes = {0: torch.export.Dim("n", min=1)} | ({1: torch.export.Dim("length", min=2)} if any_length else {})
    with torch.no_grad(), _silence():
        torch.onnx.export(
            model,
            (sample,),
            str(path),
            input_names=[given],
            output_names=[named],
            dynamic_shapes=(axes,),
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
        )
    path.chmod(0o644)
    for batch in (sample, sample[:1], _other(sample) if any_length else sample[-1:]):
        _compare(model, batch, path, given)


def _other(sample: Tensor) -> Tensor:
    """Rows that are shorter than those the graph was traced with, and more of them."""
    return sample[:, :-1].repeat(3, 1)


def _compare(model: nn.Module, batch: Tensor, path: Path, given: str) -> None:
    import onnxruntime

    with torch.no_grad():
        expected = model(batch).numpy()
    (found,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
        None, {given: batch.numpy()}
    )
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
    if not difference <= _TOLERANCE:
        raise CapivaraError(
            f"{path.name}: onnxruntime's embeddings differ from torch's by {difference:.1e}",
            "this tower cannot be written as ONNX with the versions of torch and onnxruntime that are installed",
        )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence torch's exporter, which prints its progress and logs its optimisations."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
