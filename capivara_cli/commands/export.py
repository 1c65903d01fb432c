"""Write a finished run in the form others load: an open_clip folder with merged weights, or the peft adapter."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from capivara_cli import console
from capivara_cli.command import command
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.runs import RunDir, open_run, replacing_folder
from capivara_cli.stage import Env, opt
from capivara_cli.weights import LOCAL

if TYPE_CHECKING:
    from capivara_cli.clip import Clip


@dataclass(frozen=True)
class Options:
    to: str = opt("", "folder to write; it must not exist yet")
    format: Literal["open_clip", "peft"] = opt("open_clip", "open_clip: merged weights; peft: the adapter")


@command("export", Options, "RUN")
def export(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Write one run to a folder, all or nothing."""
    if len(inputs) != 1 or not options.to:
        raise UsageError("export: one run and --to are needed", "capivara export runs/hi --to clip-hi")
    target = Path(options.to)
    if target.exists():
        raise CapivaraError(f"{target}: exists", "choose another --to, or delete it")
    run = open_run(Path(inputs[0]))
    with replacing_folder(target) as folder:
        if options.format == "peft":
            shutil.copytree(run.adapter, folder, dirs_exist_ok=True)
        else:
            _write_open_clip(run, folder, target.absolute())
        shutil.copyfile(run.path / "MODEL_CARD.md", folder / "README.md")
    console.say(_how_to_load(options.format, target, run))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return {"to": str(target), "format": options.format, "from": str(run), "bytes": size}


def _write_open_clip(run: RunDir, folder: Path, final: Path) -> None:
    """Merged weights, configuration, tokenizer, and the text tower's own ``config.json``."""
    from open_clip.push_to_hf_hub import save_config_for_hf
    from safetensors.torch import save_file

    from capivara_cli.clip import load_clip

    clip = load_clip(str(run.path))
    weights = {name: value.contiguous() for name, value in clip.model.state_dict().items()}
    path = folder / "open_clip_model.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors leaves it to the owner alone
    if hasattr(clip.tokenizer, "save_pretrained"):  # open_clip's own tokenizer is part of open_clip
        clip.tokenizer.save_pretrained(folder)
    if clip.pad_id is not None:
        clip.model.text.config.save_pretrained(folder)
    config_path = folder / "open_clip_config.json"
    save_config_for_hf(clip.model, config_path, _model_config(clip, run, final))
    config = json.loads(config_path.read_bytes())
    # The image tower is the base's: embeddings stored under its name stay valid for the exported model.
    config["capivara"] = {"base": clip.identity["model"]}
    config_path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _model_config(clip: Clip, run: RunDir, final: Path) -> dict[str, Any]:
    """open_clip's ``model_cfg`` such that plain open_clip finds the text tower's configuration.

    A base from the hub keeps the name open_clip looks up there. A local base has no such name, so the configuration is
    looked up in the exported folder, by its absolute path: plain open_clip needs it where it was written; capivara
    does not.
    """
    config = {**clip.config, "text_cfg": dict(clip.config["text_cfg"]), "custom_text": True}
    if clip.text_folder is not None and _local(run):
        config["text_cfg"].update(hf_model_name=str(final), hf_tokenizer_name=str(final))
    return config


def _local(run: RunDir) -> bool:
    """Whether the base is a folder, the toy model, or a run on one of these."""
    base = run.document["base"]["source"]["model"]
    if (Path(base) / "run.json").is_file():
        return _local(RunDir(Path(base)))
    return base == "toy" or base.startswith(LOCAL)


def _how_to_load(form: str, target: Path, run: RunDir) -> str:
    if form == "peft":
        return f"{target}/: load it with peft.PeftModel.from_pretrained(model.text, '{target}')"
    moved = f"; after moving it, set hf_model_name in {target}/open_clip_config.json" if _local(run) else ""
    return f"{target}/: load it with open_clip.create_model_and_transforms('local-dir:{target}'){moved}"
