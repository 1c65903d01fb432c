"""The model of a run with its adapter inside the towers' own weights."""

from __future__ import annotations

from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters.methods import merges
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.models.run_folder import RunDir


def merged(run: RunDir) -> Clip:
    """``CapivaraError`` for methods that add to a tower what its own layers cannot express."""
    if not merges(run.adapter):
        method = run.document["parameters"]["method"]
        raise CapivaraError(
            f"{run}: what --peft {method} adds cannot become part of the tower's own weights",
            "--format onnx takes any method, and capivara itself loads the run folder",
        )
    return load_clip(str(run.path))
