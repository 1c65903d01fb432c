"""The model of a run with its adapter merged into the weights of the towers."""

from __future__ import annotations

from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters.methods import can_merge
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.models.run_folder import RunDir


def merged(run: RunDir) -> Clip:
    """Load the model of a run. Raises ``CapivaraError`` for methods whose parameters cannot be merged."""
    if not can_merge(run.adapter):
        method = run.document["parameters"]["method"]
        raise CapivaraError(
            f"{run}: the parameters of --peft {method} cannot be merged into the tower's weights",
            "--format onnx works with any method, and capivara itself loads the run folder",
        )
    return load_clip(str(run.path))
