"""Write a finished run in the form others load: open_clip, peft, Hugging Face's classes, or ONNX."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import console, plugins
from capivara_cli.command import command
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.runs import open_run, replacing_folder
from capivara_cli.stage import Env, opt


@dataclass(frozen=True)
class Options:
    to: str = opt("", "folder to write; it must not exist yet")
    format: str = opt(
        "open-clip", "open-clip: merged weights; peft: the adapter; hf: both towers in Hugging Face's form; onnx"
    )


@command("export", Options, "RUN")
def export(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Write one run to a folder, all or nothing."""
    if len(inputs) != 1 or not options.to:
        raise UsageError("export: one run and --to are needed", "capivara export runs/hi --to clip-hi")
    plugins.check("exporters", options.format)
    target = Path(options.to)
    if target.exists():
        raise CapivaraError(f"{target}: exists", "choose another --to, or delete it")
    run = open_run(Path(inputs[0]))
    with replacing_folder(target) as folder:
        how_to_load = plugins.module("exporters", options.format).write(run, folder, target.absolute())
        if not (folder / "README.md").exists():
            shutil.copyfile(run.path / "MODEL_CARD.md", folder / "README.md")
    console.say(f"{target}/: {how_to_load}")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return {"to": str(target), "format": options.format, "from": str(run), "bytes": size}
