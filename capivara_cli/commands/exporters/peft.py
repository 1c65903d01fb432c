"""the adapter in peft's format (LoRA with its variants, LayerNorms)"""

from __future__ import annotations

import shutil
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_folder import RunDir


def write(run: RunDir, folder: Path, final: Path) -> str:
    """Copy the adapter folder of the run. Raises ``CapivaraError`` for methods that peft does not have."""
    method = run.document["parameters"]["method"]
    if method not in ("lora", "layernorm"):
        raise CapivaraError(
            f"{run}: peft cannot express --peft {method}",
            "capivara itself loads the run folder; --format onnx works with any method",
        )
    shutil.copytree(run.adapter, folder, dirs_exist_ok=True)
    return f"load it with peft.PeftModel.from_pretrained(model.text, '{final}')"
