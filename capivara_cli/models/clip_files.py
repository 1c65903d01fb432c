"""Find the files of a CLIP model before it is built. The error for a missing file says how to get it.

open_clip and transformers look up names in a configuration (of a text tower, a tokenizer, weights) on the hub when they
load a model. Here all names become local paths first, so loading needs no network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.models import file_digests, hub
from capivara_cli.models.run_folder import open_run

DEFAULT_MODEL = "xlm-roberta-base-ViT-B-32"
DEFAULT_PRETRAINED = "laion5b_s13b_b90k"
DEFAULT_REPO = "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k"
"""The repository of the default weights in open_clip's table; copied here to avoid importing torch."""

LOCAL = "local-dir:"
HUB = "hf-hub:"
MCLIP = "mclip:"
CONFIG = "open_clip_config.json"
ADAPTER = "adapter_config.json"
ADAPTER_BASE = "base.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
)
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
EXPORTED = (*_WEIGHTS, "config.json", *hub.TOKENIZER_FILES)
"""The files of an exported model whose digests are in its ``open_clip_config.json``."""
_LARGEST = {
    "embed_dim": 1 << 16, "width": 1 << 16, "hidden_size": 1 << 16, "intermediate_size": 1 << 18,
    "layers": 1 << 10, "num_hidden_layers": 1 << 10, "heads": 1 << 12, "num_attention_heads": 1 << 12,
    "image_size": 1 << 13, "patch_size": 1 << 13, "vocab_size": 1 << 24, "context_length": 1 << 17,
    "max_position_embeddings": 1 << 20,
}  # fmt: skip
"""The largest accepted sizes in configurations, several times those of the largest models."""
HINTS = (
    "--model local-dir:PATH takes an open_clip folder (open_clip_config.json, weights, tokenizer)",
    "--model toy takes the small model that is part of capivara",
)


@dataclass(frozen=True)
class ClipFiles:
    """The files and settings from which open_clip builds a model.

    ``name``: for open_clip. ``label``: for people. ``config`` and ``preprocess``: open_clip's ``model_cfg`` and
    ``preprocess_cfg``. ``text_folder``: the folder with the ``config.json`` of a Hugging Face text tower.
    """

    name: str
    label: str
    config: dict[str, Any]
    preprocess: dict[str, Any]
    weights: Path
    text_folder: Path | None
    tokenizer: Any
    quick_gelu: bool = False


def check_model(model: str, pretrained: str = "") -> None:
    """Download missing files of a model; raise ``CapivaraError`` for those that cannot be downloaded.

    Commands call this first, because importing torch and open_clip takes seconds. It checks only what needs neither.
    """
    path = Path(model.removeprefix(LOCAL))
    if model.startswith(LOCAL) and not path.is_dir():
        raise CapivaraError(f"{path}: no such folder", "\n".join(HINTS))
    if model.startswith(HUB):
        hub_folder(model.removeprefix(HUB))
    elif model.startswith(MCLIP):
        mclip_folder(model)
    elif model == DEFAULT_MODEL and pretrained in ("", DEFAULT_PRETRAINED) and not path.is_dir():
        _weights_in(DEFAULT_REPO, "", DEFAULT_PRETRAINED, "1.5 GB")


def check_name(model: str, pretrained: str = "") -> None:
    """Raise ``CapivaraError`` for a model that cannot be loaded: an unknown name, a missing or unfinished folder.

    Nothing is downloaded or built, so a command that needs several models calls this for all of them first.
    """
    path = Path(model.removeprefix(LOCAL))
    if (path / "run.json").is_file():
        open_run(path).check_adapter()
    elif path.is_dir() and not (path / ADAPTER).is_file() and not (path / CONFIG).is_file():
        raise _no_open_clip_folder(path)
    elif model.startswith(LOCAL) and not path.is_dir():
        raise CapivaraError(f"{path}: no such folder", "\n".join(HINTS))
    elif not path.is_dir() and model != "toy" and not model.startswith((HUB, MCLIP)):
        if model not in (each.stem for each in architecture_files()):
            raise unknown_model(model)
        if pretrained.endswith(_WEIGHT_SUFFIXES) and not Path(pretrained).is_file():
            raise CapivaraError(f"--pretrained {pretrained}: no such file", "a tag or a file: capivara list models")
        if model != DEFAULT_MODEL and not pretrained:
            raise CapivaraError(f"--model {model} needs --pretrained", "capivara list models")


def _no_open_clip_folder(path: Path) -> CapivaraError:
    return CapivaraError(f"{path}: no {CONFIG}: not an open_clip folder", "\n".join(HINTS))


def files_in_folder(path: Path, label: str) -> ClipFiles:
    """The files of an open_clip folder: ``open_clip_config.json``, weights, and those of a Hugging Face text tower.

    ``label``: its name for people, "" for the name of its base or of the folder. Raises ``CapivaraError`` for missing
    and damaged files.
    """
    config_path = path / CONFIG
    if not path.is_dir():
        raise CapivaraError(f"{path}: no such folder", "\n".join(HINTS))
    try:
        document = json.loads(config_path.read_bytes())
        config = document["model_cfg"]
        text = config["text_cfg"]
    except FileNotFoundError:
        raise _no_open_clip_folder(path) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{config_path}: damaged, or not a configuration of open_clip: {error!r}") from error
    _check_sizes(config, config_path)
    weights = next((path / name for name in _WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        raise CapivaraError(f"{path}: no weights; one of {', '.join(_WEIGHTS)} is expected")
    own = document.get("capivara") or {}
    if not isinstance(own, dict) or not isinstance(own.get(file_digests.FILES, {}), dict):
        raise CapivaraError(f"{config_path}: damaged: 'capivara' is {own!r}")
    file_digests.check(path, own.get(file_digests.FILES, {}), config_path, "export it again, or copy it again")
    text_folder = _text_folder(text, path)
    if text_folder is not None:
        _check_sizes(_read(text_folder / "config.json"), text_folder / "config.json")
    tokens = path if any(path.glob("tokenizer*")) or any(path.glob("*.model")) else None
    return ClipFiles(
        name=f"{LOCAL}{path}",
        label=label or own.get("base") or path.absolute().name,
        config=config,
        preprocess=document.get("preprocess_cfg", {}),
        weights=weights,
        text_folder=text_folder,
        tokenizer=_tokenizer(f"{LOCAL}{path}", text, tokens),
    )


def _check_sizes(config: object, file: Path) -> None:
    """Raise ``CapivaraError`` for absurd sizes, with which building a model would take all memory or never end."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, dict):
            _check_sizes(value, file)
        sizes = value if isinstance(value, list) else [value]
        if key in _LARGEST and not all(size is None or _is_size(size, _LARGEST[key]) for size in sizes):
            raise CapivaraError(f"{file}: {key} is {value!r}; it must be from 1 to {_LARGEST[key]:,}")


def _is_size(value: object, largest: int) -> bool:
    return type(value) is int and 1 <= value <= largest


def files_of_architecture(model: str, pretrained: str) -> tuple[ClipFiles, dict[str, str]]:
    """The files of an open_clip architecture with a tag or a file of weights (``pretrained``), and its ``Clip.source``.

    Raises ``CapivaraError`` for an unknown architecture or tag.
    """
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
            f"--model {model} needs --pretrained", f"its weights: {', '.join(tags) or 'a file of your own'}"
        )
    else:
        raise unknown(f"weights for {model}", pretrained, tags, "--pretrained takes one of them, or a file")
    text = config["text_cfg"]
    files = ClipFiles(
        name=model,
        label=model,
        config=config,
        preprocess={key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key)},
        weights=weights,
        text_folder=_text_folder(text, None),
        tokenizer=_tokenizer(model, text, None),
        quick_gelu=bool(tag.get("quick_gelu")),  # OpenAI's weights need it, whatever the name of the architecture
    )
    return files, {"model": model, "pretrained": pretrained}


def architecture_files() -> list[Path]:
    """The configuration files of open_clip's architectures, found without importing it: that would take seconds."""
    found = find_spec("open_clip")
    folders = found.submodule_search_locations if found else None
    return sorted((Path(folders[0]) / "model_configs").glob("*.json")) if folders else []


def unknown_model(model: str) -> CapivaraError:
    """The error for an unknown model name. It suggests similar names, because there are more than a hundred."""
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
    """The weights file of a tag in open_clip's table."""
    if not tag.get("hf_hub"):
        from open_clip.pretrained import download_pretrained

        try:
            return Path(download_pretrained(tag))
        except (OSError, RuntimeError) as error:
            raise CapivaraError(
                f"the weights {pretrained} of {model} are needed from {tag.get('url')}, but: {error}", "\n".join(HINTS)
            ) from error
    repo, _, name = tag["hf_hub"].rpartition("/")
    return _weights_in(repo, name, pretrained, "1.5 GB" if model == DEFAULT_MODEL else "0.3 to 10 GB, by model")


def _weights_in(repo: str, name: str, pretrained: str, size: str) -> Path:
    """The weights file in a hub repository: ``name`` or its safetensors version; a usual name if ``name`` is ""."""
    names = (f"{name.rpartition('.')[0]}.safetensors", name) if name else _WEIGHTS[:4]
    found = hub.folder(hub.RepoFiles(repo, (names,), what=f"the weights {pretrained}", size=size, hints=HINTS))
    return next(found / each for each in names if (found / each).is_file())


def hub_folder(repo: str) -> Path:
    """The local folder of an open_clip model, or of a peft adapter for one, on the hub."""
    extras = ("config.json", *hub.TOKENIZER_FILES)
    choices = ((CONFIG, ADAPTER), (*_WEIGHTS, *ADAPTER_WEIGHTS))
    return hub.folder(hub.RepoFiles(repo, choices, extras, "the open_clip configuration and weights", hints=HINTS))


def mclip_folder(spec: str) -> tuple[Path, Path]:
    """The folder of an M-CLIP text tower (a path, or a name in M-CLIP/ on the hub), and the folder of its base.

    Raises ``CapivaraError`` for missing files that cannot be downloaded, and for another configuration.
    """
    name = spec.removeprefix(MCLIP)
    what = "the M-CLIP text tower"
    if (Path(name) / "config.json").is_file():
        own = Path(name)
    else:
        choices = (("config.json",), ("model.safetensors", "pytorch_model.bin"))
        repo = name if "/" in name else f"M-CLIP/{name}"
        own = hub.folder(hub.RepoFiles(repo, choices, hub.TOKENIZER_FILES, what, "2.2 GB for XLM-R large", HINTS))
    try:
        base = json.loads((own / "config.json").read_bytes())["modelBase"]
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{own / 'config.json'}: not a configuration of M-CLIP: {error!r}") from error
    if (own / base / "config.json").is_file():
        return own, own / base
    need = hub.RepoFiles(
        base, (("config.json",),), hub.TOKENIZER_FILES, "the configuration of its base", "15 MB", HINTS
    )
    return own, hub.folder(need)


def text_tokenizer(folder: Path, length: int) -> Any:
    """The Hugging Face tokenizer in a folder, wrapped by open_clip; it cuts and pads texts to ``length`` tokens."""
    return _hf_tokenizer(folder, {"context_length": length})


def _text_folder(text: dict[str, Any], own: Path | None) -> Path | None:
    """The folder with the ``config.json`` of a Hugging Face text tower; None for open_clip's own text towers.

    open_clip looks it up on the hub by name. A saved folder with the name ``xlm-roberta-base`` would not load offline,
    and one with an absolute path would not load after a move. So the folder's own ``config.json`` comes first.
    """
    name = text.get("hf_model_name")
    if not name:
        return None
    if own is not None and _is_text_config(own / "config.json"):
        return own
    if (Path(name) / "config.json").is_file():
        return Path(name)
    what = "the configuration of the text tower"
    size = "15 MB with its tokenizer"
    return hub.folder(hub.RepoFiles(name, (("config.json",),), hub.TOKENIZER_FILES, what, size, HINTS))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CapivaraError(f"{path}: damaged: {error}") from error


def _is_text_config(path: Path) -> bool:
    from open_clip.hf_configs import arch_dict

    try:
        return json.loads(path.read_bytes()).get("model_type") in arch_dict
    except (FileNotFoundError, ValueError, AttributeError):
        return False


def _tokenizer(model: str, text: dict[str, Any], own: Path | None) -> Any:
    """open_clip's tokenizer of a model. Files of a Hugging Face tokenizer are in the model's folder or on the hub."""
    import open_clip

    name = text.get("hf_tokenizer_name")
    if not name:
        return open_clip.get_tokenizer(model)
    if own is None and Path(name).is_dir():
        own = Path(name)
    if own is None:
        choices = (("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "vocab.txt", "vocab.json"),)
        need = hub.RepoFiles(
            name, choices, ("config.json", *hub.TOKENIZER_FILES), "the tokenizer files", "15 MB", HINTS
        )
        own = hub.folder(need)
    return _hf_tokenizer(own, text)


def _hf_tokenizer(own: Path, text: dict[str, Any]) -> Any:
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    try:
        return HFTokenizer(
            str(own),
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )
    except (OSError, ValueError) as error:
        raise CapivaraError(f"{own}: its tokenizer cannot be loaded: {error}") from error
