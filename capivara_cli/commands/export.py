"""Write a finished run in the form that others load: capivara export runs/pt --out clip-pt

--format open-clip (the default), peft, hf for Hugging Face's classes, or onnx; --hf DIR writes a repository that is
ready to push to the Hugging Face hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import console, registry
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models.run_folder import open_run
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import opt
from capivara_cli.storage.files import replacing_folder

_EXAMPLE = "capivara export runs/hi --out clip-hi"


@dataclass(frozen=True)
class Options:
    to: str = opt("", "the same as --out, its name in older versions")
    format: str = opt(
        "open-clip",
        "open-clip: merged weights; peft: the adapter; hf: both towers in Hugging Face's form; hub: as --hf; onnx",
    )
    hf: str = opt(
        "",
        "folder to write, ready to push to the Hugging Face hub: the model card with results and footprint, and every "
        "form that can express the model; --format hf is the towers for sentence-transformers and transformers alone",
    )
    repo: str = opt("", "with --hf: its name on the hub, ORG/NAME")

    @property
    def form(self) -> str:
        """The name of the exporter."""
        return "hub" if self.hf else self.format

    def target(self, out: str) -> Path:
        """The folder to write. Raises ``UsageError`` unless exactly one option names it; ``out`` is that of --out."""
        named = {"--out": out, "--to": self.to, "--hf": self.hf}
        given = [flag for flag, folder in named.items() if folder]
        if not given:
            raise UsageError("export: one run and --out are needed", _EXAMPLE)
        if len(given) > 1:
            raise UsageError(f"export: {' and '.join(given)} both name the folder", "give one of them")
        return Path(named[given[0]])

    def check(self) -> None:
        """Raise ``UsageError`` for a ``--repo`` without ``--hf``, or one that is no name on the hub."""
        if self.repo and self.form != "hub":
            raise UsageError("--repo is the name on the hub: it goes with --hf", "--hf clip-hi --repo ORG/clip-hi")
        if self.repo and not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", self.repo):
            raise UsageError(f"--repo {self.repo}: a name on the hub is ORG/NAME")


@command("export", Options, "RUN")
def export(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Write one run to a new folder; if anything fails, no folder is left."""
    if len(inputs) != 1:
        raise UsageError("export: one run and --out are needed", _EXAMPLE)
    target = options.target(env.settings.out)
    options.check()
    registry.check("exporters", options.form)
    from capivara_cli.reports import card

    if target.exists():
        raise CapivaraError(f"{target}: exists", f"choose another {'--hf' if options.hf else '--out'}, or delete it")
    run = open_run(Path(inputs[0]))
    run.check_adapter()
    further = {"repo": options.repo} if options.repo else {}
    with replacing_folder(target) as folder:
        how_to_load = registry.module("exporters", options.form).write(run, folder, target.absolute(), **further)
        if not (folder / "README.md").exists():
            (folder / "README.md").write_text(card.of_folder(run.path), "utf-8")
    console.say(f"{target}/: {how_to_load}")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return {"to": str(target), "format": options.form, "from": str(run), "bytes": size}
