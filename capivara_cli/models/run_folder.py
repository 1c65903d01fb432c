"""A run folder: the options of a training run, its progress, and its results.

Training writes ``run.json`` (the request, the base model, the data, the state), ``metrics.jsonl`` (a line per step),
``checkpoints/`` (the last two, and the best), ``adapter/`` (peft's format) and ``curve.png``. The program adds
``footprint.json`` and ``MODEL_CARD.md``, an evaluation adds ``eval.json``. ``finished`` in ``run.json`` is written
last, and nothing loads an unfinished run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import CapivaraError
from capivara_cli.models import run_document
from capivara_cli.models.run_document import Metrics, RunDocument
from capivara_cli.pipeline.options import flag_of
from capivara_cli.storage.files import replace_text, replacing, sweep

if TYPE_CHECKING:
    from typing_extensions import Unpack

_KEEP = 2
"""Number of checkpoints in the folder, without the best one."""


class RunDir:
    """One run folder. The first ``save`` creates it. Raises ``CapivaraError`` if its ``run.json`` is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = True
        """False in all but the first of several processes that train together."""
        self.adapter = path / "adapter"
        self.checkpoints = path / "checkpoints"
        self.best = self.checkpoints / "best.pt"
        self.metrics = path / "metrics.jsonl"
        self.document = self._read()

    def __str__(self) -> str:
        return str(self.path)

    def _read(self) -> RunDocument:
        path = self.path / "run.json"
        try:
            return run_document.from_json(path.read_bytes(), str(path))
        except FileNotFoundError:
            return {}

    @property
    def finished(self) -> bool:
        """Whether the run has ended and all its files are written."""
        return bool(self.document.get("finished"))

    @property
    def begun(self) -> bool:
        """Whether the folder has a checkpoint or a finished run."""
        return self.finished or bool(self.checkpoint_steps())

    def save(self, **changes: Unpack[RunDocument]) -> None:
        """Set top-level keys of ``run.json`` and write it, all or nothing."""
        self.document.update(changes)
        if self.writes:
            replace_text(self.path / "run.json", run_document.to_json(self.document))

    def check_request(self, request: dict[str, Any]) -> None:
        """Raise ``CapivaraError`` if the folder holds a run with other options, or other files.

        A run without a saved step is replaced instead.
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
                    "choose another name with --name, or delete the folder to train again",
                )

    def check_adapter(self) -> None:
        """Raise ``CapivaraError`` if the adapter's checksum is not the one in ``run.json``."""
        weights = self.adapter / "adapter_model.safetensors"
        try:
            found = hashlib.sha256(weights.read_bytes()).hexdigest()
        except FileNotFoundError:
            found = "no such file"
        if found != self.document.get("adapter_sha256", found):
            raise CapivaraError(
                f"{weights}: damaged or replaced: its checksum is not the one in run.json",
                "restore it, or delete the folder and train again",
            )

    def checkpoint_steps(self) -> list[int]:
        """The steps with a checkpoint, oldest first."""
        steps = [path.stem.removeprefix("step-") for path in self.checkpoints.glob("step-*.pt")]
        return sorted(int(step) for step in steps if step.isdigit())

    def checkpoint(self, step: int) -> Path:
        """The path of the checkpoint of a step."""
        return self.checkpoints / f"step-{step:06d}.pt"

    def save_checkpoint(self, step: int, data: bytes) -> None:
        """Write a checkpoint all or nothing, then delete all but the last two."""
        with replacing(self.checkpoint(step)) as out:
            out.write(data)
        for old in self.checkpoint_steps()[:-_KEEP]:
            self.checkpoint(old).unlink(missing_ok=True)
        sweep(self.checkpoints)

    def save_best(self, data: bytes) -> None:
        """Write the weights with the best validation so far, all or nothing."""
        with replacing(self.best) as out:
            out.write(data)

    def read_metrics(self) -> list[Metrics]:
        """The lines of ``metrics.jsonl``, as ``metrics_from_json``; [] if there is no such file."""
        if not self.metrics.is_file():
            return []
        return run_document.metrics_from_json(self.metrics.read_bytes(), str(self.metrics))

    def cut_metrics(self, step: int) -> None:
        """Keep the lines of the first ``step`` steps, because the steps after the checkpoint are taken again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        replace_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))


def open_run(path: Path) -> RunDir:
    """The run in a folder. Raises ``CapivaraError`` if there is none, or it is not finished."""
    run = RunDir(path)
    if not run.document:
        raise CapivaraError(f"{path}: no run.json: not a run folder", "create a run with capivara train")
    if not run.finished or not run.adapter.is_dir():
        done, total = run.document.get("step", 0), run.document["request"].get("steps")
        steps = f"{total:,}" if isinstance(total, int) else "?"
        raise CapivaraError(
            f"{path}: unfinished: step {done:,} of {steps}",
            "run the same capivara train command again to resume it",
        )
    return run
