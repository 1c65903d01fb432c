"""A run folder: what was asked, how far it is, what came out.

``run.json`` (the request, the base model, the data, the state), ``metrics.jsonl`` (a line per step), ``checkpoints/``
(the last two, and the best), ``adapter/`` (peft's format), ``curve.png``, ``MODEL_CARD.md``; others add
``footprint.json`` and ``eval.json``.
A run is finished when ``run.json`` says so, which is written last; nothing loads an unfinished one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.options import flag_of
from capivara_cli.storage.files import partial_of, replace_text, replacing, sweep

_KEEP = 2


class RunDir:
    """One run folder; nothing is created before the first ``save``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = True
        """False in all but one of several processes that train together."""
        self.adapter = path / "adapter"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.pt"
        self.metrics = path / "metrics.jsonl"
        self.document: dict[str, Any] = self._read()

    def __str__(self) -> str:
        return str(self.path)

    def _read(self) -> dict[str, Any]:
        path = self.path / "run.json"
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise CapivaraError(f"{path}: damaged: {error}", "delete the folder and train again") from error
        if not isinstance(document, dict) or not isinstance(document.get("request"), dict):
            raise CapivaraError(f"{path}: not written by capivara train", "choose another folder with --name")
        return document

    @property
    def finished(self) -> bool:
        return bool(self.document.get("finished"))

    @property
    def begun(self) -> bool:
        """Whether there is anything to lose: steps that were kept."""
        return self.finished or bool(self.checkpoint_steps())

    def save(self, **changes: Any) -> None:
        """Set top-level keys of ``run.json``, all or nothing."""
        self.document.update(changes)
        if not self.writes:
            return
        replace_text(self.path / "run.json", json.dumps(self.document, ensure_ascii=False, indent=2) + "\n")

    def check_request(self, request: dict[str, Any]) -> None:
        """Raise ``CapivaraError`` when this folder holds a run that was asked for with other options.

        One that never came to keep a step is forgotten.
        """
        before = self.document.get("request")
        if before is None:
            if self.path.is_dir() and any(self.path.iterdir()):
                raise CapivaraError(f"{self}: not empty, and not a run", "choose another name with --name")
            return
        if not self.begun:
            self.document = {}
            return
        for key in [*before, *(key for key in request if key not in before)]:
            if before.get(key) != request.get(key):
                flag = flag_of(key)
                raise CapivaraError(
                    f"{self}: holds a run with {flag} {before.get(key)}, now it is {flag} {request.get(key)}",
                    "choose another name with --name, or delete the folder to train anew",
                )

    def check_adapter(self) -> None:
        """Raise ``CapivaraError`` when the adapter is not the one that training wrote."""
        weights = self.adapter / "adapter_model.safetensors"
        try:
            found = hashlib.sha256(weights.read_bytes()).hexdigest()
        except FileNotFoundError:
            found = "no such file"
        if found != self.document.get("adapter_sha256", found):
            raise CapivaraError(
                f"{weights}: damaged, or another one than was trained: its checksum is not that in run.json",
                "restore it, or delete the folder and train again",
            )

    def checkpoint_steps(self) -> list[int]:
        """The steps there is a checkpoint of, oldest first."""
        steps = [path.stem.removeprefix("step-") for path in self.checkpoints.glob("step-*.pt")]
        return sorted(int(step) for step in steps if step.isdigit())

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}.pt"

    def save_checkpoint(self, step: int, data: bytes) -> None:
        """Write a checkpoint all or nothing, then forget all but the last two."""
        with replacing(self.checkpoint(step)) as out:
            out.write(data)
        for old in self.checkpoint_steps()[:-_KEEP]:
            self.checkpoint(old).unlink(missing_ok=True)
        sweep(self.checkpoints)

    def save_best(self, data: bytes) -> None:
        """Write the weights that validated best so far, all or nothing."""
        with replacing(self.best) as out:
            out.write(data)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; one torn by a kill counts as not written."""
        lines = []
        if self.metrics.is_file():
            for line in self.metrics.read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(line))
        return lines

    def cut_metrics(self, step: int) -> None:
        """Keep the lines of the first ``step`` steps: what came after the checkpoint is done again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        replace_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Make a folder all or nothing: a temporary beside it, then a rename; on any error nothing is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    partial.mkdir()
    try:
        yield partial
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def open_run(path: Path) -> RunDir:
    """A finished run; ``CapivaraError`` when there is none, or it is not finished."""
    run = RunDir(path)
    if not run.document:
        raise CapivaraError(f"{path}: no run.json: not a run folder", "a run is made by: capivara train")
    if not run.finished or not run.adapter.is_dir():
        done, total = run.document.get("step", 0), run.document["request"].get("steps", "?")
        raise CapivaraError(
            f"{path}: unfinished: step {done:,} of {total:,}",
            "give the same capivara train command again: it goes on where it stopped",
        )
    return run
