"""merged weights in open_clip's format"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capivara_cli.commands.exporters._merged import merged
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.models.clip_files import CONFIG, EXPORTED, LOCAL
from capivara_cli.models.file_digests import FILES, digests
from capivara_cli.models.mclip import MultilingualText
from capivara_cli.models.run_folder import RunDir
from capivara_cli.reports import card


def write(run: RunDir, folder: Path, final: Path) -> str:
    """Write merged weights, configuration, tokenizer, the text tower's own ``config.json``, and how to load them.

    Raises ``CapivaraError`` for M-CLIP's text towers: their projection has a bias, which open_clip does not support.
    """
    clip = merged(run)
    if not expresses(clip):
        raise CapivaraError(f"{run}: open_clip cannot express M-CLIP's text towers", "use --format hf or onnx")
    local = clip.text_folder is not None and has_local_base(run)
    save(clip, folder, final.name if local else "")
    text = clip.config["text_cfg"] if local else {}
    (folder / "README.md").write_text(card.of_folder(run.path) + _usage(final.name, text), "utf-8")
    if local:
        return f"{final}/README.md has the lines that load it with open_clip, wherever the folder is"
    return f"load it with open_clip.create_model_and_transforms('local-dir:{final}')"


def _usage(name: str, text: Mapping[str, Any]) -> str:
    """The lines that load the folder with open_clip.

    ``text``: the configuration of a text tower that open_clip cannot look up by its name; {} for any other. open_clip
    reads a text tower's ``config.json`` in the folder ``hf_model_name``, which it does not look for beside its own
    configuration. So the folder is given as an argument: a path in a file would be wrong once the folder is moved.
    """
    kinds = {key: text[key] for key in ("hf_proj_type", "hf_pooler_type") if key in text}
    given = ", ".join(f"{key}={value!r}" for key, value in {"hf_model_pretrained": False, **kinds}.items())
    lines = [
        "import open_clip",
        "",
        f"folder = {name!r}  # where this folder is",
        *([f"text = dict(hf_model_name=folder, {given})"] if text else []),
        'name = f"local-dir:{folder}"',
        f"model, _, preprocess = open_clip.create_model_and_transforms(name{', text_cfg=text' if text else ''})",
        "tokenizer = open_clip.get_tokenizer(name)",
    ]
    return "\n".join(["", "## With open_clip", "", "```python", *lines, "```", ""])


def expresses(clip: Clip) -> bool:
    """Whether open_clip can express this model."""
    return not isinstance(clip.model.text, MultilingualText)


def save(clip: Clip, folder: Path, named_by: str) -> None:
    """Write a model that open_clip can express.

    ``named_by``: the name, of a folder or on the hub, by which open_clip will look for the configuration of a Hugging
    Face text tower; "" for the place it used for the base model.
    """
    from open_clip.push_to_hf_hub import save_config_for_hf
    from safetensors.torch import save_file

    weights = {name: value.contiguous() for name, value in clip.model.state_dict().items()}
    path = folder / "open_clip_model.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it readable for the owner only
    if hasattr(clip.tokenizer, "save_pretrained"):  # open_clip's own tokenizer is part of open_clip
        clip.tokenizer.save_pretrained(folder)
    if hasattr(clip.model.text, "config"):
        clip.model.text.config.save_pretrained(folder)
    save_config_for_hf(clip.model, folder / CONFIG, _model_config(clip, named_by))
    # The image tower is that of the base, so embeddings stored under its name stay valid for the exported model.
    seal(folder, {"base": clip.identity.model})


def seal(folder: Path, own: Mapping[str, Any] | None = None) -> None:
    """Write the digests of the files of an exported model, beside ``own`` values of capivara, into its configuration.

    ``load_clip`` compares them. Without ``own``, its values stay.
    """
    path = folder / CONFIG
    config = json.loads(path.read_bytes())
    config["capivara"] = {**(own or config["capivara"]), FILES: digests(folder, EXPORTED)}
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _model_config(clip: Clip, named_by: str) -> dict[str, Any]:
    """open_clip's ``model_cfg``, with which plain open_clip finds the configuration of the text tower.

    A base from the hub keeps the name under which open_clip looks it up there. A local base has no such name, so that
    of the exported folder stands in its place. capivara takes the ``config.json`` in the folder in any case.
    """
    config = {**clip.config, "text_cfg": dict(clip.config["text_cfg"]), "custom_text": True}
    if named_by:
        config["text_cfg"].update(hf_model_name=named_by, hf_tokenizer_name=named_by)
    return config


def has_local_base(run: RunDir) -> bool:
    """Whether the base is a local folder, the toy model, or a run on one of these."""
    base = run.document["base"]["source"]["model"]
    if (Path(base) / "run.json").is_file():
        return has_local_base(RunDir(Path(base)))
    return base == "toy" or base.startswith(LOCAL)
