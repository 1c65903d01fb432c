"""The metrics of a run in TensorBoard and in Weights & Biases, for those who watch there; ``metrics.jsonl`` has all."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_folder import RunDir

Log = Callable[[dict[str, Any]], None]


class Trackers:
    """Hands every line of the metrics to the trackers named; to none in a process that does not write."""

    def __init__(self, names: Sequence[str], run: RunDir, writes: bool) -> None:
        self._logs = [_OPEN[name](run) for name in names] if writes else []

    def __call__(self, line: dict[str, Any]) -> None:
        for log in self._logs:
            log(line)


def scalars(line: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """``{"loss": 1, "timing": {"seconds": 2}}`` -> ("loss", 1), ("timing/seconds", 2)."""
    for name, value in line.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}/")
        elif name != "step":
            yield prefix + name, value


def _tensorboard(run: RunDir) -> Log:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise CapivaraError("--log tensorboard: it is not installed", "pip install 'capivara[tensorboard]'") from error
    writer = SummaryWriter(str(run.path / "tensorboard"), flush_secs=10)
    atexit.register(writer.close)

    def log(line: dict[str, Any]) -> None:
        for name, value in scalars(line):
            writer.add_scalar(name, value, line["step"])

    return log


def _wandb(run: RunDir) -> Log:
    try:
        import wandb
    except ImportError as error:
        raise CapivaraError("--log wandb: it is not installed", "pip install 'capivara[wandb]'") from error
    request = run.document["request"]
    opened = wandb.init(project="capivara", name=run.path.name, dir=str(run.path), config=request, resume="allow")
    atexit.register(opened.finish)
    return lambda line: opened.log(dict(scalars(line)), step=line["step"])


_OPEN: dict[str, Callable[[RunDir], Log]] = {"tensorboard": _tensorboard, "wandb": _wandb}
