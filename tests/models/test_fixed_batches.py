"""An embedding does not depend on what else is in its batch, whatever instructions the processor has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import embedded_in_batches, variants
from support.made import ROOT
from support.tiny import own_tower

from capivara_cli.models.clip import load_clip

PROCESSORS = {
    "as it is": {},
    "SSE41": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
VISION = {"image_size": 64, "layers": 3, "width": 192, "head_width": 64, "patch_size": 16}
TEXT = {"width": 192, "heads": 3, "layers": 3}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model so wide that libraries choose other kernels for other numbers of rows."""
    folder = tmp_path_factory.mktemp("wide") / "clip"
    own_tower(folder, VISION, **TEXT)
    return folder


@pytest.mark.parametrize("processor", variants.some([*PROCESSORS], 1))
def test_an_embedding_does_not_depend_on_its_batch(processor: str, wide: Path, tiny: Path) -> None:
    models = ["toy", str(wide), str(tiny)]
    if variables := PROCESSORS[processor]:
        found = embedded(variables, *models)
    else:
        found = {name: embedded_in_batches.of_model(load_clip(name)) for name in models}
    differ = {
        (model, what): count
        for model, of_model in found.items()
        for what, count in of_model.items()
        if isinstance(count, int) and count
    }
    assert differ == {}


def embedded(variables: dict[str, str], *models: str) -> dict[str, Any]:
    threads = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, **variables, **threads, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, embedded_in_batches.__file__, *models]
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
