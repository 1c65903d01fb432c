"""The optional extras of the package: ``pip install 'capivara[parquet]'``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TypedDict

EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "parquet": (("pyarrow",), "pack reads parquet files, such as those of Hugging Face"),
    "heic": (("pillow_heif",), "photos in HEIC, as phones take them"),
    "search": (("faiss",), "search among millions of images"),
    "onnx": (("onnx", "onnxscript", "onnxruntime"), "export --format onnx"),
    "s3": (("s3fs",), "shards at s3:// addresses"),
    "gs": (("gcsfs",), "shards at gs:// addresses"),
    "ray": (("ray",), "--engine ray: workers on a cluster"),
    "tensorboard": (("tensorboard",), "train --log tensorboard"),
    "wandb": (("wandb",), "train --log wandb"),
}
"""Each extra -> the modules that it installs, and what they are for."""


class Extra(TypedDict):
    """An extra: whether it is installed, and what it is for."""

    extra: str
    installed: bool
    what: str


def extras() -> list[Extra]:
    """Every extra. Nothing of it is imported."""
    return [
        {"extra": name, "installed": all(map(_is_installed, modules)), "what": what}
        for name, (modules, what) in EXTRAS.items()
    ]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
