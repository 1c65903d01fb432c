"""Write a finished run in a form that other programs load.

--format names the form: open-clip has the merged weights, peft the adapter alone, hf the text tower for
sentence-transformers and the image tower for transformers, onnx both towers. --hf DIR, in place of --out, writes a
repository that is ready to push to the Hugging Face hub: the model card, and the model in every form that can express
it.

Arguments:
    RUN: the folder of one run, such as runs/pt

Examples:
    capivara export runs/pt --out clip-pt
    capivara export runs/pt --format peft --out adapter
    capivara export runs/pt --hf clip-pt --repo my-name/clip-pt
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import console, plugin_errors, registry
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models.run_folder import open_run
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import COSTS, RESULTS, opt
from capivara_cli.storage.files import move_folder, partial_folder, sweep

_EXAMPLE = "capivara export runs/hi --out clip-hi"


@dataclass(frozen=True)
class Options:
    to: str = opt("", "old name of --out", panel=RESULTS, metavar="DIR")
    format: str = opt(
        "open-clip", "open-clip, peft (adapter alone), hf, onnx, hub (--hf)", metavar="NAME", completes="exporters"
    )
    hf: str = opt("", "write a whole repository for the Hugging Face hub here", panel=RESULTS, metavar="DIR")
    repo: str = opt("", "with --hf: name of the repository, ORG/NAME", panel=RESULTS)

    @property
    def form(self) -> str:
        """The name of the exporter."""
        return "hub" if self.hf else self.format

    def target(self, out: str) -> Path:
        """The folder to write, ``out`` by --out. Raises ``UsageError`` unless exactly one option names a folder."""
        named = {"--out": out, "--to": self.to, "--hf": self.hf}
        given = [flag for flag, folder in named.items() if folder]
        if not given:
            raise UsageError("export needs one run and --out", _EXAMPLE)
        if len(given) > 1:
            raise UsageError(f"export: {' and '.join(given)} both name the folder", "give one of them")
        return Path(named[given[0]])

    def check(self) -> None:
        """Raise ``UsageError`` for a ``--repo`` without ``--hf``, or one that is not of the form ORG/NAME."""
        if self.repo and self.form != "hub":
            raise UsageError("--repo only goes with --hf: it is a name on the hub", "--hf clip-hi --repo ORG/clip-hi")
        if self.repo and not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", self.repo):
            raise UsageError(f"--repo {self.repo}: a name on the hub is ORG/NAME")


@command("export", Options, "RUN", settings=("out", "overwrite", *COSTS))
def export(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Write one run to a new folder; if anything fails, no folder is left."""
    if len(inputs) != 1:
        raise UsageError("export needs one run and --out", _EXAMPLE)
    target = options.target(env.settings.out)
    options.check()
    registry.check("exporters", options.form)
    from capivara_cli.reports import card

    if target.exists() and not env.settings.overwrite:
        flag = "--hf" if options.hf else "--out"
        raise CapivaraError(f"{target}: exists already", f"choose another {flag}, or replace it with --overwrite")
    run = open_run(Path(inputs[0]))
    run.check_adapter()
    sweep(target.parent)
    more = {"repo": options.repo} if options.repo else {}
    with partial_folder(target) as folder:
        exporter = registry.module("exporters", options.form)
        how_to_load = exporter.write(run, folder, target.absolute(), **more)
        if not isinstance(how_to_load, str):
            raise plugin_errors.fault(exporter, f"write returned {plugin_errors.shown(how_to_load)}, not a text")
        if not (folder / "README.md").exists():
            (folder / "README.md").write_text(card.of_folder(run.path), "utf-8")
        _check_foreign(target, folder)
        move_folder(folder, target)
    if card.edited(run.path):
        console.warn(f"{run.path / card.FILE} has been edited: {target / 'README.md'} is a new card without the edits")
    console.say(f"{target}/: {how_to_load}")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return {"to": str(target), "format": options.form, "from": str(run), "bytes": size}


def _check_foreign(target: Path, new: Path) -> None:
    """Raise ``CapivaraError`` if a folder that will be replaced holds a file that is not in the new one."""
    written = {path.relative_to(new) for path in new.rglob("*")}
    for path in sorted(target.rglob("*")) if target.is_dir() else []:
        if path.relative_to(target) not in written:
            raise CapivaraError(
                f"{target}: --overwrite does not delete {path.relative_to(target)}, which this export does not write",
                "choose another folder, or delete that one",
            )
