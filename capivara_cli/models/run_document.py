"""The contents of ``run.json`` and ``metrics.jsonl`` as types, and the only readers of both files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.shards.history import History


class Base(TypedDict):
    """The base model: its ``Clip.source``, its ``Clip.identity``, and the digests of its image and text towers."""

    source: dict[str, str]
    identity: dict[str, str]
    image: str
    text: str


class _Data(TypedDict):
    samples: int
    captions: dict[str, int]
    authors: list[list[Any]]
    embedded_here: int
    fingerprint: str


class Data(_Data, total=False):
    """The training data.

    ``samples``: number of images. ``captions``: number by language. ``authors``: [language, author, count].
    ``embedded_here``: number of images that training embedded itself. ``fingerprint``: a digest. ``shots``: keys of the
    images of a few-shot run. ``heldout``: number of validation images.
    """

    shots: list[str]
    heldout: int


class BatchSettings(TypedDict, total=False):
    """Pairs per step, those in kept languages, steps of warm-up, and the settings that a resumed run must repeat."""

    size: int
    kept: int
    warmup: int
    precision: str
    chunk_tokens: int
    image_chunk_tokens: int


class Parameters(TypedDict):
    """The method, the linear modules with LoRA, and numbers of parameters. ``percent``: ``trainable`` of ``total``."""

    method: str
    targets: list[str]
    total: int
    trainable: int
    percent: float
    parts: dict[str, int]


class Result(TypedDict):
    """The result: losses, seconds in steps, tokens without and with padding, and the best validation."""

    loss_first: float
    loss_last: float
    seconds: float
    pairs_per_second: float
    tokens: int
    padded: int
    peak_bytes: int
    best_step: int | None
    val: dict[str, float] | None


class RunDocument(TypedDict, total=False):
    """``run.json``. ``request``: the options that determine the result, by name, and the seed; ``step``: steps taken.

    The keys from ``parameters`` on exist after training has begun, ``result`` after it has ended.
    """

    name: str
    request: dict[str, Any]
    base: Base
    data: Data
    batch: BatchSettings
    objective: dict[str, float]
    history: History
    versions: dict[str, str]
    step: int
    finished: bool
    translate_queries: str
    parameters: Parameters
    logit_scale: float
    logit_bias: float | None
    adapter_sha256: str
    result: Result


class Timing(TypedDict, total=False):
    """Seconds of a step, pairs per second, chunks computed twice, peak memory, and remaining seconds of the run."""

    seconds: float
    pairs_per_second: float
    recomputed: int
    peak_bytes: int
    left: float


class _Metrics(TypedDict):
    step: int
    loss: float
    terms: dict[str, float]
    lr: float
    logit_scale: float
    tokens: int
    padded: int
    timing: Timing


class Metrics(_Metrics, total=False):
    """A line of ``metrics.jsonl``: one step, from 1. ``val``: mean recall by language, after a validation."""

    val: dict[str, float]


def trained_languages(request: Mapping[str, Any], option: str = "lang") -> list[str]:
    """The codes of the languages in an option of a request, ``lang`` or ``keep_lang``.

    >>> trained_languages({"lang": "sr-Latn, no, Portuguese"})
    ['sr-Latn', 'nb', 'pt']
    """
    return list(languages.codes(str(request.get(option, ""))))


_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "request": dict, "base": dict, "data": dict, "batch": dict, "objective": dict, "history": list,
    "versions": dict, "step": int, "finished": bool, "translate_queries": str, "parameters": dict,
    "logit_scale": (int, float), "logit_bias": (int, float, type(None)), "adapter_sha256": str, "result": dict,
}  # fmt: skip


def from_json(text: bytes, name: str) -> RunDocument:
    """The document in the text of ``run.json``. Raises ``CapivaraError`` that names the file if it is damaged."""
    try:
        document: RunDocument = json.loads(text)
    except ValueError as error:
        raise CapivaraError(f"{name}: damaged: {error}", "delete the folder and train again") from error
    if not isinstance(document, dict) or not isinstance(document.get("request"), dict):
        raise CapivaraError(f"{name}: not written by capivara train", "choose another folder with --name")
    wrong = [key for key, kind in _KINDS.items() if key in document and not isinstance(document.get(key), kind)]
    if wrong:
        value = document.get(wrong[0])
        raise CapivaraError(f"{name}: damaged: {wrong[0]!r} is {value!r}", "delete the folder and train again")
    return document


def to_json(document: RunDocument) -> str:
    """The text of ``run.json``."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def metrics_from_json(text: bytes, name: str) -> list[Metrics]:
    """The lines of ``metrics.jsonl``. An incomplete last line, which a kill leaves, is ignored.

    Raises ``CapivaraError`` that names the file and the line for any other damage.
    """
    lines = text.splitlines()
    found: list[Metrics] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry: Metrics = json.loads(line)
            float(entry["step"]), float(entry["loss"]), dict(entry.get("terms", {}))
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise CapivaraError(f"{name}: line {number}: damaged: {error}", "train again, or move it away") from error
        found.append(entry)
    return found
