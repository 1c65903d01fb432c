"""A run folder: the options of a training run, its progress, and its results.

Training writes ``run.json`` (the request, the base model, the data, the state), ``metrics.jsonl`` (a line per step),
``checkpoints/`` (the last two, and the best), ``adapter/`` (peft's format) and ``curve.png``. The program adds
``footprint.json`` and ``MODEL_CARD.md``, an evaluation adds ``eval.json``. ``finished`` in ``run.json`` is written
last, and nothing loads an unfinished run.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from capivara_cli.errors import CapivaraError
from capivara_cli.models import file_digests, run_document
from capivara_cli.models.run_document import Metrics, RunDocument
from capivara_cli.pipeline.options import flag_of
from capivara_cli.storage.checksums import write_checked
from capivara_cli.storage.files import replace_text, replacing, sweep

if TYPE_CHECKING:
    from typing_extensions import Unpack

_WRITTEN = (
    "run.json", "metrics.jsonl", "curve.png", "footprint.json", "eval.json", "MODEL_CARD.md", "report.html",
    "checkpoints", "adapter", "examples", "tensorboard",
)  # fmt: skip
"""What capivara writes into a run folder."""
_KEEP = 2
"""Number of checkpoints in the folder, without the best one."""
_PARTIAL = re.compile(r"\..+\.partial-")
"""The names of temporary files, which a killed process leaves."""
ANOTHER_RUN = "choose another name with --name, or train again with --overwrite, which replaces that run"


class RunDir:
    """One run folder. The first ``save`` creates it. Raises ``CapivaraError`` if its ``run.json`` is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = True
        """False in all but the first of several processes that train together."""
        self.contents: dict[str, str] = {}
        """A digest of the files that each option of this command names."""
        self.outdated = False
        """Whether the folder holds another run, which will be replaced (``--overwrite``)."""
        self._asked: tuple[dict[str, Any], Mapping[str, str], bool] | None = None
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

    def reload(self) -> None:
        """Read ``run.json`` and check the request again, because another process may have written the file."""
        self.document = self._read()
        if self.document and self._asked is not None:
            self.check_request(*self._asked)

    def clear(self) -> None:
        """Remove what capivara wrote into the folder, and nothing else."""
        for path in (self.path / name for name in _WRITTEN):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self.document, self.outdated = {}, False

    def required(self, key: Literal["base", "data"]) -> Any:
        """A key of ``run.json`` that every begun run has. Raises ``CapivaraError`` if it is missing."""
        if key not in self.document:
            raise CapivaraError(
                f"{self.path / 'run.json'}: damaged: {key!r} of the run is missing", "delete the folder and train again"
            )
        return self.document[key]

    def check_request(self, request: dict[str, Any], contents: Mapping[str, str], overwrite: bool = False) -> None:
        """Raise ``CapivaraError`` if the folder holds a run with other options, or other files.

        ``contents``: a digest of the files that each option names. A run without a saved step is replaced instead, and
        with ``overwrite`` any other run: it is ``outdated``.
        """
        self._asked, self.contents = (request, contents, overwrite), dict(contents)
        if not self.document:
            self._check_without_document(overwrite)
            return
        if not self.begun:
            self.document = {}
            return
        different = self._difference(request)
        if different and not overwrite:
            raise CapivaraError(f"{self}: {different}", ANOTHER_RUN)
        if different:
            self.document, self.outdated = {}, True

    def _check_without_document(self, overwrite: bool) -> None:
        """Raise ``CapivaraError`` for a folder with files but no ``run.json``; what is left of a run is overwritten."""
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        names = {name for name in names if not _PARTIAL.match(name)}
        if names and names.isdisjoint(_WRITTEN):
            raise CapivaraError(f"{self}: not empty, and not a run", "choose another name with --name")
        if names and not overwrite:
            raise CapivaraError(
                f"{self}: its run.json is missing",
                "restore it; or delete the folder and train again, or train again with --overwrite",
            )
        self.outdated = bool(names)

    def _difference(self, request: dict[str, Any]) -> str:
        """How the request of the folder differs from another one and from the files that now belong to it."""
        before, known = self.document["request"], self.document.get("contents", {})
        for key in [*before, *(key for key in request if key not in before)]:
            if before.get(key) != request.get(key):
                flag = flag_of(key)
                return f"holds a run with {flag} {before.get(key)}, now it is {flag} {request.get(key)}"
        for key in [*known, *(key for key in self.contents if key not in known)]:
            if known.get(key) != self.contents.get(key):
                return f"{flag_of(key)} {request.get(key)}: its files have changed since this run was trained"
        return ""

    def check_adapter(self) -> None:
        """Raise ``CapivaraError`` if a file of the adapter is not the one whose checksum is in ``run.json``."""
        weights = {"adapter_model.safetensors": self.document["adapter_sha256"]}
        files = {**weights, **self.document.get("adapter_files", {})}
        hint = "restore it, or run the same capivara train command again, which makes it again"
        file_digests.check(self.adapter, files, self.path / "run.json", hint)

    def damage(self) -> str:
        """What ``check_adapter`` finds in a finished run; "" if nothing is damaged."""
        try:
            self.check_adapter()
        except CapivaraError as error:
            return error.message
        return ""

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
            write_checked(out, data)
        for old in self.checkpoint_steps()[:-_KEEP]:
            self.checkpoint(old).unlink(missing_ok=True)
        sweep(self.checkpoints)

    def save_best(self, data: bytes) -> None:
        """Write the weights with the best validation so far, all or nothing."""
        with replacing(self.best) as out:
            write_checked(out, data)

    def read_metrics(self) -> list[Metrics]:
        """The lines of ``metrics.jsonl``, as ``metrics_from_json``; [] if there is no such file.

        Raises ``CapivaraError`` if the file of a finished run was changed.
        """
        try:
            data = self.metrics.read_bytes()
        except FileNotFoundError:
            return []
        lines = run_document.metrics_from_json(data, str(self.metrics))
        expected = self.document.get("metrics_sha256") if self.finished else None
        if expected and hashlib.sha256(data).hexdigest() != expected:
            raise CapivaraError(
                f"{self.metrics}: damaged or replaced: its checksum is not the one in run.json",
                "restore it, or move it away: the model does not need it",
            )
        return lines

    def metrics_of(self, steps: int) -> bytes:
        """The first lines of ``metrics.jsonl``, one for each of ``steps`` steps; fewer if it has fewer."""
        try:
            lines = self.metrics.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return b""
        return b"".join(lines[:steps])

    def cut_metrics(self, step: int) -> None:
        """Keep the lines of the first ``step`` steps, because the steps after the checkpoint are taken again."""
        replace_text(self.metrics, self.metrics_of(step).decode())


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
            f"run the same capivara train command again{' to resume it' if run.checkpoint_steps() else ''}",
        )
    return run
