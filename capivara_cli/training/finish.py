"""Write the results of a run: adapter, result, curve. The program adds its cost and the model card."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from capivara_cli import __version__, console
from capivara_cli.models.adapters import methods
from capivara_cli.models.clip import Clip
from capivara_cli.models.file_digests import sha256_of
from capivara_cli.models.run_document import Data, Metrics, Result
from capivara_cli.models.run_folder import RunDir
from capivara_cli.storage.files import replacing_folder
from capivara_cli.training import curve
from capivara_cli.training.data import TrainingData
from capivara_cli.training.loop import BestValidation


def data_summary(data: TrainingData, shots: int) -> Data:
    """The summary of the training data for ``run.json``; with ``shots`` above 0, it has the keys of the images."""
    found: Data = {
        "samples": data.samples,
        "captions": dict(sorted(data.captions.items())),
        "authors": [[language, author, count] for (language, author), count in sorted(data.authors.items())],
        "embedded_here": data.store.document["embedded_here"],
        "fingerprint": data.store.fingerprint,
    }
    if shots:
        found["shots"] = [data.store.key(image) for image in data.target.images]
    if data.heldout:
        found["heldout"] = len(np.unique(np.concatenate([pool.images for pool in data.heldout.values()])))
    return found


def versions() -> dict[str, str]:
    """The versions of capivara and of the libraries that determine the result."""
    import open_clip
    import peft
    import transformers

    return {
        "capivara": __version__,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }


def finish(run: RunDir, clip: Clip, best: BestValidation, pairs_per_second: float, *, images: bool) -> None:
    """Write the adapter and the curve, mark the run as finished in ``run.json``, and report the result.

    ``images``: whether the image tower was trained too.
    """
    with replacing_folder(run.adapter) as folder:
        methods.save(clip.model.text, folder, run.document["base"], clip.model.visual if images else None)
    metrics = run.read_metrics()
    before = run.document.get("adapter_sha256")
    files = {path.name: sha256_of(path) for path in sorted(run.adapter.iterdir())}
    bias = getattr(clip.model, "logit_bias", None)
    run.save(
        logit_scale=clip.model.logit_scale.item(),
        logit_bias=None if bias is None else bias.item(),
        adapter_sha256=files[methods.WEIGHTS],
        adapter_files=files,
        metrics_sha256=sha256_of(run.metrics),
        result=_result(metrics, best, pairs_per_second),
        step=len(metrics),
    )
    curve.save(metrics, run.path / "curve.png", run.path.name)
    run.save(finished=True)
    if before not in (None, files[methods.WEIGHTS]) and (run.path / "eval.json").exists():
        console.warn(f"{run}: the new weights are not those that {run.path / 'eval.json'} is about: evaluate again")
    _say(run, metrics)


def _result(metrics: Sequence[Metrics], best: BestValidation, pairs_per_second: float) -> Result:
    """The result. ``pairs_per_second``: 0 if this session took no step; then that of the last step counts."""
    pairs_per_second = pairs_per_second or metrics[-1]["timing"]["pairs_per_second"]
    return {
        "loss_first": metrics[0]["loss"],
        "loss_last": metrics[-1]["loss"],
        "seconds": round(sum(line["timing"]["seconds"] for line in metrics), 3),
        "pairs_per_second": round(pairs_per_second, 1),
        "tokens": sum(line["tokens"] for line in metrics),
        "padded": sum(line["padded"] for line in metrics),
        "peak_bytes": max(line["timing"]["peak_bytes"] for line in metrics),
        "best_step": best.step or None,
        "val": next((line["val"] for line in metrics if line["step"] == best.step), None),
    }


def _say(run: RunDir, metrics: Sequence[Metrics]) -> None:
    document = run.document
    parameters, result, batch = document["parameters"], document["result"], document["batch"]
    console.say(curve.sparklines(metrics))
    console.say(
        f"trained {parameters['trainable']:,} of {parameters['total']:,} parameters "
        f"({parameters['percent']:.2f} %), {document['step']:,} steps of {batch['size']:,} pairs in "
        f"{console.duration(result['seconds'])} ({result['pairs_per_second']:,.0f} pairs/s); "
        f"loss {result['loss_first']:.3f} → {result['loss_last']:.3f}"
    )
    console.say(
        f"{result['tokens']:,} tokens, {result['padded'] / result['tokens'] - 1:.0%} more with padding; "
        f"at most {console.size(result['peak_bytes'])} of memory"
    )
    if result["val"]:
        console.say(f"best validation: step {result['best_step']:,}, mean recall {result['val']['mean']:.1f}")
    console.say(f"the run is {run}/")
    console.hint(f"measure it with: capivara eval {run} SHARDS")
