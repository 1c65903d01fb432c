"""CLIP models by name: open_clip architectures, hub repositories, local folders, finished runs, and the toy model.

Every file is found before open_clip is asked to build anything, so open_clip and transformers never touch the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import hub
from capivara_cli.errors import CapivaraError, unknown

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

DEFAULT_MODEL = "xlm-roberta-base-ViT-B-32"
DEFAULT_PRETRAINED = "laion5b_s13b_b90k"
TOY = Path(__file__).parent / "toy" / "models" / "clip"

_LOCAL, _HUB = "local-dir:", "hf-hub:"
_CONFIG = "open_clip_config.json"
_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
)
_WAYS = (
    "--model local-dir:PATH takes an open_clip folder (open_clip_config.json, weights, tokenizer)",
    "--model toy takes the small model that is part of capivara",
)
_TEXT_BATCH = 256
_TOKENIZE_BATCH = 8192


@dataclass
class Clip:
    """An open_clip model on a device, in evaluation mode; its text tower is always ``model.text``.

    ``identity`` names the image tower: {"model", "weights", "preprocess"}, "weights" being the sha256 of its
    parameters. It is what ``json["clip"]`` holds beside ``clip.npy``. A run adapts the text tower alone, so a run has
    the identity of its base. ``config`` is open_clip's ``model_cfg``, ``source`` how to load the model again
    ({"model", "pretrained"}), ``folder`` where its own files are, None for an open_clip architecture.
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
    path = Path(model.removeprefix(_LOCAL))
    if (path / "run.json").is_file():
        from capivara_cli.runs import load_run

        return load_run(path, device)
    if model == "toy":
        if not (TOY / _CONFIG).is_file():
            raise CapivaraError(f"{TOY}: the toy model is not there", "rebuild it: python -m capivara_cli.toy.build")
        return _load(_folder_plan(TOY, "toy"), {"model": "toy", "pretrained": ""}, device)
    if model.startswith(_LOCAL) or path.is_dir():
        source = {"model": f"{_LOCAL}{path.absolute()}", "pretrained": ""}
        return _load(_folder_plan(path, ""), source, device)
    if model.startswith(_HUB):
        source = {"model": model, "pretrained": ""}
        return _load(_folder_plan(_hub_folder(model.removeprefix(_HUB)), model), source, device)
    return _load(*_architecture_plan(model, pretrained), device)


@dataclass(frozen=True)
class _Plan:
    """All files found: what open_clip is to build, and from which files."""

    name: str
    label: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    weights: Path
    text_folder: Path | None
    tokenizer: Any


def _folder_plan(path: Path, label: str) -> _Plan:
    """An open_clip folder: ``open_clip_config.json``, weights, and what its Hugging Face text tower needs."""
    config_path = path / _CONFIG
    if not path.is_dir():
        raise CapivaraError(f"{path}: no such folder", "\n".join(_WAYS))
    try:
        described = json.loads(config_path.read_bytes())
        config = described["model_cfg"]
        text = config["text_cfg"]
    except FileNotFoundError:
        raise CapivaraError(f"{path}: no {_CONFIG}: not an open_clip folder", "\n".join(_WAYS)) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{config_path}: damaged, or not a configuration of open_clip: {error!r}") from error
    weights = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        raise CapivaraError(f"{path}: no weights; one of {', '.join(_WEIGHTS)} is expected")
    text_folder = _text_folder(text, path)
    tokens = path if any(path.glob("tokenizer*")) or any(path.glob("*.model")) else None
    return _Plan(
        name=f"{_LOCAL}{path}",
        label=label or described.get("capivara", {}).get("base") or path.absolute().name,
        config=config,
        preprocess=described.get("preprocess_cfg", {}),
        weights=weights,
        text_folder=text_folder,
        tokenizer=_tokenizer(f"{_LOCAL}{path}", text, tokens),
    )


def _architecture_plan(model: str, pretrained: str) -> tuple[_Plan, dict[str, str]]:
    """One of open_clip's architectures with a tag of weights, or a file of weights."""
    import open_clip

    config = open_clip.get_model_config(model)
    if config is None:
        raise unknown_model(model)
    tags = open_clip.list_pretrained_tags_by_model(model)
    pretrained = pretrained or (DEFAULT_PRETRAINED if model == DEFAULT_MODEL else "")
    tag = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    if tag:
        weights = _tag_weights(model, pretrained, tag)
    elif pretrained and Path(pretrained).is_file():
        weights = Path(pretrained)
    elif not pretrained:
        raise CapivaraError(
            f"--model {model} needs --pretrained", f"its weights: {', '.join(tags) or 'a file of yours'}"
        )
    else:
        raise unknown(f"weights for {model}", pretrained, tags, "--pretrained takes one of them, or a file")
    text = config["text_cfg"]
    plan = _Plan(
        name=model,
        label=model,
        config=config,
        preprocess={key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key)},
        weights=weights,
        text_folder=_text_folder(text, None),
        tokenizer=_tokenizer(model, text, None),
    )
    return plan, {"model": model, "pretrained": pretrained}


def unknown_model(model: str) -> CapivaraError:
    """The error for a model name that nothing here knows: a guess, not the list of all hundred and more."""
    import difflib

    import open_clip

    known = [*open_clip.list_models(), "toy"]
    close = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
    guess = f" — did you mean {' or '.join(close)}?" if close else ""
    return CapivaraError(
        f"there is no model {model!r}{guess}",
        "a model is an open_clip architecture (capivara list models), hf-hub:ORG/NAME, local-dir:PATH, a run or toy",
    )


def _tag_weights(model: str, pretrained: str, tag: dict[str, Any]) -> Path:
    """The file of weights that open_clip's table names for a tag."""
    if not tag.get("hf_hub"):
        from open_clip.pretrained import download_pretrained

        try:
            return Path(download_pretrained(tag))
        except (OSError, RuntimeError) as error:
            raise CapivaraError(
                f"the weights {pretrained} of {model} are needed from {tag.get('url')}, but: {error}", "\n".join(_WAYS)
            ) from error
    repo, _, name = tag["hf_hub"].rpartition("/")
    names = (name, f"{name.rpartition('.')[0]}.safetensors") if name else _WEIGHTS[:3]
    size = "1.5 GB" if model == DEFAULT_MODEL else "0.3 to 10 GB, by model"
    found = hub.folder(hub.Need(repo, (names,), what=f"the weights {pretrained}", size=size, ways=_WAYS))
    return next(found / each for each in names if (found / each).is_file())


def _hub_folder(repo: str) -> Path:
    extras = ("config.json", *hub.TOKENIZER_FILES)
    need = hub.Need(repo, ((_CONFIG,), _WEIGHTS), extras, "the open_clip configuration and weights", ways=_WAYS)
    return hub.folder(need)


def _text_folder(text: dict[str, Any], own: Path | None) -> Path | None:
    """The folder with the ``config.json`` of a Hugging Face text tower; None for open_clip's own text towers.

    open_clip asks the hub for it by name, so a saved folder that names ``xlm-roberta-base`` would not load offline,
    and one that names an absolute path would not load once moved. The folder's own ``config.json`` settles both.
    """
    name = text.get("hf_model_name")
    if not name:
        return None
    if own is not None and _is_text_config(own / "config.json"):
        return own
    if (Path(name) / "config.json").is_file():
        return Path(name)
    what = "the configuration of the text tower"
    return hub.folder(hub.Need(name, (("config.json",),), hub.TOKENIZER_FILES, what, "15 MB with its tokenizer", _WAYS))


def _is_text_config(path: Path) -> bool:
    from open_clip.hf_configs import arch_dict

    try:
        return json.loads(path.read_bytes()).get("model_type") in arch_dict
    except (FileNotFoundError, ValueError, AttributeError):
        return False


def _tokenizer(model: str, text: dict[str, Any], own: Path | None) -> Any:
    """open_clip's tokenizer for a model; the files of a Hugging Face one come from the model's folder or the hub."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    name = text.get("hf_tokenizer_name")
    if not name:
        return open_clip.get_tokenizer(model)
    if own is None and Path(name).is_dir():
        own = Path(name)
    if own is None:
        choices = (("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "vocab.txt", "vocab.json"),)
        need = hub.Need(name, choices, ("config.json", *hub.TOKENIZER_FILES), "the tokenizer files", "15 MB", _WAYS)
        own = hub.folder(need)
    try:
        return HFTokenizer(
            str(own),
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )
    except (OSError, ValueError) as error:
        raise CapivaraError(f"{own}: its tokenizer cannot be loaded: {error}") from error


def _load(plan: _Plan, source: dict[str, str], device: str) -> Clip:
    from open_clip.factory import create_model
    from open_clip.transform import PreprocessCfg, image_transform_v2

    overrides: dict[str, Any] = {}
    if plan.text_folder is not None:
        text = {**plan.config["text_cfg"], "hf_model_name": str(plan.text_folder), "hf_model_pretrained": False}
        overrides["text_cfg"] = text
    try:
        model = create_model(
            plan.name,
            None if plan.name.startswith(_LOCAL) else str(plan.weights),
            device=device,
            force_custom_text=True,  # one shape for all: the text tower is model.text
            force_preprocess_cfg=plan.preprocess,
            require_pretrained=True,
            **overrides,
        )
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise CapivaraError(f"{plan.weights}: cannot be loaded as {plan.label}: {error}") from error
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
