"""CLIP models by name: open_clip architectures, hub repositories, local folders, finished runs, and the toy model.

Every file is found before open_clip is asked to build anything, so open_clip and transformers never touch the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import CapivaraError
from capivara_cli.runs import open_run
from capivara_cli.weights import (
    CONFIG,
    DEFAULT_MODEL,
    DEFAULT_PRETRAINED,
    HUB,
    LOCAL,
    WAYS,
    Plan,
    architecture_plan,
    check_model,
    folder_plan,
    hub_folder,
)

__all__ = ["DEFAULT_MODEL", "DEFAULT_PRETRAINED", "TOY", "Clip", "check_model", "load_clip"]

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

TOY = Path(__file__).parent / "toy" / "models" / "clip"

_TEXT_BATCH = 256
_TOKENIZE_BATCH = 8192


@dataclass
class Clip:
    """An open_clip model on a device, in evaluation mode; its text tower is always ``model.text``.

    ``identity`` names the image tower: {"model", "weights", "preprocess"}, "weights" being the sha256 of its
    parameters. It is what ``json["clip"]`` holds beside ``clip.npy``. A run adapts the text tower alone, so a run has
    the identity of its base. ``config`` is open_clip's ``model_cfg``, ``source`` how to load the model again
    ({"model", "pretrained"}), ``text_folder`` where the ``config.json`` of a Hugging Face text tower is.
    """

    model: Any
    preprocess: Callable[[Any], Tensor]
    tokenizer: Any
    device: str
    identity: dict[str, str]
    dim: int
    config: dict[str, Any]
    source: dict[str, str]
    text_folder: Path | None = None
    _text_digest: str = ""

    @property
    def text_digest(self) -> str:
        """What the text tower is: the sha256 of its parameters; for a run, of its base's digest and its adapter."""
        self._text_digest = self._text_digest or _digest(self.model.text)
        return self._text_digest

    @property
    def pad_id(self) -> int | None:
        """The padding token of a Hugging Face text tower, None for open_clip's own, which need full-length input."""
        config = getattr(self.model.text, "config", None)
        return getattr(config, "pad_token_id", None)

    def embed_images(self, images: Sequence[Tensor]) -> np.ndarray:
        """Preprocessed images [3, h, w] -> [n, dim] float32, L2-normalised."""
        import numpy as np
        import torch

        if not images:
            return np.zeros((0, self.dim), np.float32)
        with torch.inference_mode():
            batch = torch.stack(list(images)).to(self.device)
            return self.model.encode_image(batch, normalize=True).float().cpu().numpy()

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """[n, dim] float32, L2-normalised, in the order given; cut to the context length of the tokenizer."""
        import numpy as np
        import torch

        rows = self.tokenize(texts)
        result = np.zeros((len(rows), self.dim), np.float32)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        with torch.inference_mode():
            for start in range(0, len(order), _TEXT_BATCH):
                chosen = order[start : start + _TEXT_BATCH]
                tokens = self.pad([rows[index] for index in chosen]).to(self.device)
                result[chosen] = self.model.encode_text(tokens, normalize=True).float().cpu().numpy()
        return result

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One int32 row of token ids per text, without padding where the text tower can do without it."""
        import numpy as np

        rows: list[np.ndarray] = []
        for start in range(0, len(texts), _TOKENIZE_BATCH):
            block = self.tokenizer(list(texts[start : start + _TOKENIZE_BATCH])).numpy().astype(np.int32)
            if self.pad_id is None:
                rows += list(block)
                continue
            used = block != self.pad_id
            lengths = np.where(used.any(axis=1), block.shape[1] - used[:, ::-1].argmax(axis=1), 1)
            rows += [row[:length] for row, length in zip(block, lengths.tolist(), strict=True)]
        return rows

    def pad(self, rows: Sequence[np.ndarray], length: int = 0) -> Tensor:
        """Rows of token ids -> [n, longest row or ``length``] int64, padded on the right.

        The Hugging Face towers mask padding, so how far a row is padded does not change its embedding.
        """
        import numpy as np
        import torch

        width = max(length, *(len(row) for row in rows)) if rows else length
        tokens = np.full((len(rows), width), self.pad_id or 0, np.int64)
        for place, row in zip(tokens, rows, strict=True):
            place[: len(row)] = row
        return torch.from_numpy(tokens)


def load_clip(model: str = DEFAULT_MODEL, pretrained: str = "", device: str = "cpu") -> Clip:
    """Load a CLIP model.

    ``model``: an open_clip architecture (with the tag or file ``pretrained``), ``hf-hub:org/name``,
    ``local-dir:PATH`` or such a folder's path, a run folder, or ``toy``. Raises ``CapivaraError`` for an unknown name
    and when files are needed that are neither here nor to be had.
    """
    path = Path(model.removeprefix(LOCAL))
    if (path / "run.json").is_file():
        return _load_run(path, device)
    if model == "toy":
        if not (TOY / CONFIG).is_file():
            raise CapivaraError(f"{TOY}: the toy model is not there", "rebuild it: python -m capivara_cli.toy.build")
        return _load(folder_plan(TOY, "toy"), {"model": "toy", "pretrained": ""}, device)
    if model.startswith(LOCAL) or path.is_dir():
        source = {"model": f"{LOCAL}{path.absolute()}", "pretrained": ""}
        return _load(folder_plan(path, ""), source, device)
    if model.startswith(HUB):
        source = {"model": model, "pretrained": ""}
        return _load(folder_plan(hub_folder(model.removeprefix(HUB)), model), source, device)
    return _load(*architecture_plan(model, pretrained), device)


def _load(plan: Plan, source: dict[str, str], device: str) -> Clip:
    from open_clip.factory import create_model
    from open_clip.transform import PreprocessCfg, image_transform_v2

    overrides: dict[str, Any] = {}
    if plan.text_folder is not None:
        text = {**plan.config["text_cfg"], "hf_model_name": str(plan.text_folder), "hf_model_pretrained": False}
        overrides["text_cfg"] = text
    try:
        model = create_model(
            plan.name,
            None if plan.name.startswith(LOCAL) else str(plan.weights),
            device=device,
            force_custom_text=True,  # one shape for all: the text tower is model.text
            force_preprocess_cfg=plan.preprocess,
            require_pretrained=True,
            **overrides,
        )
    except _damage() as error:
        raise CapivaraError(f"{plan.weights}: cannot be loaded: {_shortened(error)}", "\n".join(WAYS)) from error
    model.eval().requires_grad_(False)
    settings = model.visual.preprocess_cfg
    identity = {"model": plan.label, "weights": _digest(model.visual), "preprocess": _describe(settings)}
    return Clip(
        model=model,
        preprocess=image_transform_v2(PreprocessCfg(**settings), is_train=False),
        tokenizer=plan.tokenizer,
        device=device,
        identity=identity,
        dim=plan.config["embed_dim"],
        config=plan.config,
        source=source,
        text_folder=plan.text_folder,
    )


def _damage() -> tuple[type[Exception], ...]:
    """What loaders raise for weights that are cut, of other shapes, or no weights."""
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    return (RuntimeError, ValueError, TypeError, OSError, KeyError, EOFError, UnpicklingError, SafetensorError)


def _shortened(error: Exception) -> str:
    """torch lists every parameter that does not fit: the first few say enough."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"


def _digest(tower: Any) -> str:
    """sha256 over the parameters and buffers of a tower: the same wherever and however its files are stored."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()}"


def _describe(preprocess: dict[str, Any]) -> str:
    """``224 px bicubic shortest, mean …, std …``: everything that decides what the image tower is shown."""
    size = preprocess["size"]
    size = size if isinstance(size, int) or size[0] != size[1] else size[0]
    mean, std = ("/".join(f"{value:.4g}" for value in preprocess[key]) for key in ("mean", "std"))
    return f"{size} px {preprocess['interpolation']} {preprocess['resize_mode']}, mean {mean}, std {std}"


def _load_run(path: Path, device: str) -> Clip:
    """The base model with the adapter of a finished run merged in.

    Raises ``CapivaraError`` when the base that is there now is not the one the run was trained on.
    """
    import torch

    from capivara_cli.training import tuning

    run = open_run(path)
    base = run.document["base"]
    clip = load_clip(base["source"]["model"], base["source"]["pretrained"], device)
    for tower, digest in (("image", clip.identity["weights"]), ("text", clip.text_digest)):
        if digest != base[tower]:
            raise CapivaraError(
                f"{path}: was trained on {base['source']['model']}, whose {tower} tower is another one now "
                f"(it was {base[tower][:15]}…, it is {digest[:15]}…)",
                "an adapter fits only the weights it was trained on: restore them, or train again",
            )
    before = clip.text_digest
    try:
        adapted = tuning.load(clip.model.text, run.adapter, device)
    except _damage() as error:
        raise CapivaraError(f"{run.adapter}: the adapter cannot be loaded: {_shortened(error)}") from error
    clip.model.text = adapted.eval().requires_grad_(False)
    with torch.no_grad():
        clip.model.logit_scale.fill_(run.document["logit_scale"])
    clip.source = {"model": str(path.absolute()), "pretrained": ""}
    clip._text_digest = "sha256:" + hashlib.sha256((before + run.document["adapter_sha256"]).encode()).hexdigest()
    return clip
