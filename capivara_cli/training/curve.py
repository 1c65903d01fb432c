"""The training curve, as an image in the run folder and as a line in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from capivara_cli import console
from capivara_cli.models.run_document import Metrics
from capivara_cli.storage.files import replacing

_WIDTH = 60


def save(metrics: Sequence[Metrics], path: Path, title: str) -> None:
    """Write a PNG of the loss and its terms over the steps, and below it the mean recall of the validations."""
    from matplotlib.figure import Figure

    validated = [line for line in metrics if "val" in line]
    figure = Figure(figsize=(8, 6 if validated else 4), layout="constrained")
    axes = figure.subplots(2 if validated else 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = [line["step"] for line in metrics]
    axes[0].plot(steps, [line["loss"] for line in metrics], label="loss", color="black", linewidth=1)
    terms = metrics[0]["terms"]
    for name in terms if len(terms) > 1 else ():
        axes[0].plot(steps, [line["terms"][name] for line in metrics], label=name, linewidth=0.8, alpha=0.8)
    axes[0].set(ylabel="loss", title=title)
    axes[0].legend(frameon=False)
    if validated:
        for name in validated[0]["val"]:
            axes[1].plot(
                [line["step"] for line in validated], [line["val"][name] for line in validated], marker=".", label=name
            )
        axes[1].set(ylabel="mean recall on held-out images, %")
        axes[1].legend(frameon=False)
    axes[-1].set(xlabel="step")
    for each in axes:
        each.grid(alpha=0.2)
        each.spines[["top", "right"]].set_visible(False)
    with replacing(path) as out:
        figure.savefig(out, format="png", dpi=120)


def sparklines(metrics: Sequence[Metrics]) -> str:
    """The loss and the validations over the steps, a line of blocks each: ``loss 4.77 █▆▃▂▁ 1.06``."""
    series = {"loss": [line["loss"] for line in metrics]}
    series["mean recall on held-out images"] = [line["val"]["mean"] for line in metrics if "val" in line]
    return "\n".join(
        f"{name} {values[0]:.3g} {_blocks(values)} {values[-1]:.3g}"
        for name, values in series.items()
        if len(values) > 1
    )


def _blocks(values: Sequence[float]) -> str:
    """The means of up to ``_WIDTH`` equal parts as blocks, from ▁ (the lowest) to █ (the highest)."""
    count = min(_WIDTH, len(values))
    edges = [len(values) * part // count for part in range(count + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means), max(means)
    return console.sparkline((mean - low) / (high - low or 1) for mean in means)
