"""Models converted for CTranslate2: loading, device settings and checksums."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capivara_cli.costs.flops import COUNTED
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.device import cores

_MOST_WORKERS = 32
_CHECKED_BYTES = 1 << 20


def translator_in(folder: Path, device: str) -> Any:
    """Load the model in a folder. Raises ``CapivaraError`` if it is missing or damaged."""
    import ctranslate2

    try:
        return ctranslate2.Translator(str(folder), **device_arguments(device))
    except (RuntimeError, ValueError) as error:
        raise CapivaraError(f"{folder}: cannot be loaded by CTranslate2: {error}") from error


def device_arguments(device: str) -> dict[str, Any]:
    """Arguments of ``ctranslate2.Translator`` for many short texts on this machine.

    A CPU gets one worker per core with one thread each; the workers share the weights and take a batch at a time. Two
    threads per worker are slower than one, as captions are short. ``OMP_NUM_THREADS`` limits the total.
    """
    import ctranslate2

    kind, _, index = device.partition(":")
    if kind in ("cuda", "auto") and ctranslate2.get_cuda_device_count() > 0:
        return {"device": "cuda", "device_index": int(index or 0), "compute_type": "auto"}
    threads = _threads()
    workers = min(threads, _MOST_WORKERS)
    return {
        "device": "cpu",
        "compute_type": "auto",
        "inter_threads": workers,
        "intra_threads": max(1, threads // workers),
    }


def best_translations(
    model: Any, rows: Sequence[list[str]], first: str, settings: Mapping[str, Any]
) -> list[list[str]]:
    """The tokens of the best translation of each row of tokens, by ``translate_batch`` with ``settings``.

    ``first``: a token with which every translation begins, "" for none. Only rows of one length form a batch: with
    padding, an int8 model gives a row scores that differ in the third digit, so its translation could depend on the
    other rows.
    """
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(index)
    started = [  # all at once, so that the workers are busy until the last batch
        (
            indexes,
            model.translate_batch(
                [rows[index] for index in indexes],
                target_prefix=[[first]] * len(indexes) if first else None,
                max_batch_size=tokens_at_once(model),
                batch_type="tokens",
                asynchronous=True,
                **settings,
            ),
        )
        for _, indexes in sorted(by_length.items())
    ]
    translated: list[list[str]] = [[] for _ in rows]
    for indexes, results in started:
        for index, result in zip(indexes, results, strict=True):
            translated[index] = result.result().hypotheses[0]
    return translated


def count_operations(folder: Path, read: int, written: int, beams: int) -> None:
    """Count the operations of a translation outside PyTorch: about 2 per weight and token.

    Half of the weights belong to the encoder, which processes the tokens ``read``; half to the decoder, which
    processes the tokens ``written`` once per beam. One weight is assumed to be one byte, as in int8 models.
    """
    COUNTED.add((folder / "model.bin").stat().st_size * (read + written * beams))


def tokens_at_once(translator: Any) -> int:
    """The fastest ``max_batch_size`` in tokens. On a CPU, small batches fit its caches and spread over the workers.

    With a package of real size, 256 tokens were a fifth faster than 1,024 and a quarter faster than 2,048.
    """
    return 4096 if translator.device == "cuda" else 256


def _threads() -> int:
    """``OMP_NUM_THREADS``; without it, the number of cores."""
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if limit.isdigit() and int(limit) > 0:
        return int(limit)
    return cores()


def checksum(folder: Path) -> str:
    """A hash of the names and sizes of all files, and of the first and last megabyte of each.

    It identifies the weights, as two trainings of one model differ in all of them. Reading a gigabyte takes a second.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with open(file, "rb") as data:
            digest.update(data.read(_CHECKED_BYTES))
            data.seek(max(0, size - _CHECKED_BYTES))
            digest.update(data.read(_CHECKED_BYTES))
    return digest.hexdigest()[:16]
