"""The checkpoints of a run as states: written, and read if they are whole and belong to this run."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_folder import RunDir
from capivara_cli.storage.checksums import DamagedFile, read_checked
from capivara_cli.training.devices import Devices

State = dict[str, Any]


class Checkpoints:
    """The checkpoints in a run folder: the last ones, from which a run resumes, and the best weights so far.

    Each has the request, the base model and the data of its run as a digest, and one of the lines of ``metrics.jsonl``
    up to its step.
    """

    def __init__(self, run: RunDir, device: str) -> None:
        self._run, self._device = run, device
        document = run.document
        made_from = [document["request"], document["base"], document["data"]["fingerprint"]]
        self._of_run = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()

    def save(self, step: int, state: State) -> None:
        """Write the checkpoint of a step. ``state["best"]`` is the score, step and age of the best validation."""
        self._run.save_checkpoint(step, self._bytes({**state, "step": step, "metrics": self._metrics(step)}))
        self._run.save(step=step)

    def save_best(self, step: int, state: State) -> None:
        """Write the weights of the validation after a step."""
        self._run.save_best(self._bytes({**state, "step": step}))

    def last(self, devices: Devices) -> State | None:
        """The state of the last checkpoint that can be used; None without one.

        Those that cannot are reported and renamed, so they no longer count.
        """
        found: State | None = None
        unusable: list[Path] = []
        for step in reversed(self._run.checkpoint_steps()):
            path = self._run.checkpoint(step)
            try:
                found = self._checked(path)
                break
            except (DamagedFile, FileNotFoundError) as error:
                console.warn(f"{path}: cannot be used: {error}")
                unusable.append(path)
        devices.wait()  # before a file is renamed, every process has read it
        if unusable:
            where = f"going on from step {found['step']:,}" if found else "starting over"
            console.say(f"{self._run}: {where}")
        for path in unusable if devices.first else ():
            path.rename(path.with_suffix(".unused"))
        return found

    def best(self) -> State:
        """The weights of the best validation. Raises ``CapivaraError`` if they are damaged."""
        try:
            return self._read(self._run.best)
        except (DamagedFile, FileNotFoundError) as error:
            raise CapivaraError(
                f"{self._run.best}: cannot be used: {error}", "run the same command again: it resumes from before it"
            ) from error

    def _read(self, path: Path) -> State:
        """The state in a file. Raises ``DamagedFile`` for damage, and for a file of another run."""
        state: State = torch.load(io.BytesIO(read_checked(path)), map_location=self._device, weights_only=True)
        if state.get("run") != self._of_run:
            raise DamagedFile("it is of another run")
        return state

    def _checked(self, path: Path) -> State:
        """The state in a file. Raises ``DamagedFile`` also if files that belong to it are not those of its time."""
        state = self._read(path)
        if self._metrics(state["step"]) != state["metrics"]:
            raise DamagedFile(f"{self._run.metrics.name} does not have its steps")
        _, step, _ = state["best"]
        if step and self._read(self._run.best)["step"] < step:
            raise DamagedFile(f"{self._run.best.name} is older")
        return state

    def _bytes(self, state: State) -> bytes:
        buffer = io.BytesIO()
        torch.save({**state, "run": self._of_run}, buffer)
        return buffer.getvalue()

    def _metrics(self, steps: int) -> str:
        return hashlib.sha256(self._run.metrics_of(steps)).hexdigest()
