"""Send the metrics of a run to TensorBoard and Weights & Biases. ``metrics.jsonl`` always has all of them."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_document import Metrics
from capivara_cli.models.run_folder import RunDir

Log = Callable[[Metrics], None]


class Trackers:
    """Sends each line of the metrics to the named trackers; does nothing in a process that does not write."""

    def __init__(self, names: Sequence[str], run: RunDir, writes: bool) -> None:
        self._logs = [_OPEN[name](run) for name in names] if writes else []

    def __call__(self, line: Metrics) -> None:
        for log in self._logs:
            log(line)


def scalars(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The metrics by path: {"loss": 1, "timing": {"seconds": 2}} -> ("loss", 1), ("timing/seconds", 2)."""
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

    def log(line: Metrics) -> None:
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
