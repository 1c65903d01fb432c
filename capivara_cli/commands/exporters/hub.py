"""a repository for the Hugging Face hub: model card, results, and the formats of open_clip, peft and hf"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.commands.exporters import hf, open_clip
from capivara_cli.commands.exporters._merged import merged
from capivara_cli.costs import ledger
from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters import methods
from capivara_cli.models.clip import Clip
from capivara_cli.models.clip_files import ADAPTER_BASE, CONFIG
from capivara_cli.models.run_folder import RunDir
from capivara_cli.reports import card, eval_results
from capivara_cli.reports.card.how_to_load import PEFT_METHODS, ExportedForms
from capivara_cli.reports.card.public import public
from capivara_cli.storage import checksums

_LARGE = ("*.safetensors", "*.model", "*.png", "tokenizer.json")
_PLACES = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file")
"""Keys under which transformers stores the folder that something was loaded from."""


def write(run: RunDir, folder: Path, final: Path, repo: str = "") -> str:
    """Write a repository that is ready to be pushed as ``repo`` (ORG/NAME). Its files contain no path of this machine.

    Raises ``CapivaraError`` for adapters that cannot be merged, and for towers that neither open_clip nor
    sentence-transformers can express.
    """
    clip = merged(run)
    forms, remark = _write_forms(run, clip, folder, repo, final.name)
    if run.document["parameters"]["method"] in PEFT_METHODS:
        shutil.copytree(run.adapter, folder / "adapter", dirs_exist_ok=True)
        forms.append("peft")
    _write_results(run, folder)
    _clean(folder)
    named = repo or "ORG/NAME"
    page = card.of_folder(run.path, ExportedForms(tuple(forms), named))
    (folder / "README.md").write_text(page, "utf-8")
    attributes = "".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in _LARGE)
    (folder / ".gitattributes").write_text(attributes, "utf-8")
    return f"name the licence in README.md, then push the folder with: hf upload {named} {final}{remark}"


def _write_forms(run: RunDir, clip: Clip, folder: Path, repo: str, name: str) -> tuple[list[str], str]:
    """Write the merged model in every form that can express it; return the forms, and what is left to do."""
    forms, remark = [], ""
    if open_clip.expresses(clip):
        own_text = clip.text_folder is not None
        local = own_text and open_clip.has_local_base(run)
        open_clip.save(clip, folder, repo if own_text and repo else name if local else "")
        forms.append("open-clip")
        if local and not repo:
            remark = (
                "\nopen_clip looks up the text tower's configuration by name, and the base is not on the hub: give "
                f"--repo ORG/NAME, or set hf_model_name in open_clip_config.json (now {name}) to it before you push"
            )
    else:
        console.warn("open_clip cannot express M-CLIP's text towers: the model is in text/ and image/ only")
    try:
        hf.save(clip, folder)
        forms.append("hf")
    except CapivaraError as error:
        if not forms:
            raise
        console.say(f"text/ and image/ are not written: {error.message}")
    return forms, remark


def _write_results(run: RunDir, folder: Path) -> None:
    """Write results, footprint and training curve, those that the run has."""
    results = card.read_results(run.path)
    if results.rows:
        shown = json.dumps(public(results.to_json()), ensure_ascii=False)
        (folder / eval_results.FILE).write_text(shown + "\n", "utf-8")
    if records := ledger.read(run.path):
        _json(folder / ledger.RUN_LEDGER, {"records": public(records)})
    if (run.path / "curve.png").is_file():
        shutil.copyfile(run.path / "curve.png", folder / "curve.png")


def _clean(folder: Path) -> None:
    """Remove the paths of this machine from the configurations."""
    for path in [*folder.rglob("*config*.json"), *folder.rglob("base.json")]:
        content = {key: value for key, value in json.loads(path.read_bytes()).items() if key != checksums.KEY}
        if path.parent.name == "adapter":
            content = public(content)
        for key in _PLACES:
            content.pop(key, None)
        _json(path, content)
    adapter = folder / "adapter"
    if adapter.is_dir():  # the digests of the files as they are now
        methods.write_base(adapter, json.loads((adapter / ADAPTER_BASE).read_bytes()))
    if (folder / CONFIG).is_file():
        open_clip.seal(folder)


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")
