"""The contents of ``run.json`` and ``metrics.jsonl`` as types, and the only readers of both files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.shards.history import History
from capivara_cli.storage import checksums
from capivara_cli.storage.typed_json import from_json as checked


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


class _BatchSizes(TypedDict):
    size: int
    kept: int
    warmup: int


class BatchSettings(_BatchSizes, total=False):
    """Pairs per step, those in kept languages, steps of warm-up, and the settings that a resumed run must repeat."""

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

    ``contents``: a digest of the files that each option names. The keys from ``parameters`` on exist after training has
    begun, those from ``adapter_sha256`` on after it has ended: the sha256 of the weights, of all files of the adapter,
    and of ``metrics.jsonl``.
    """

    name: str
    request: dict[str, Any]
    contents: dict[str, str]
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
    adapter_files: dict[str, str]
    metrics_sha256: str
    result: Result


class _Source(TypedDict):
    model: str
    pretrained: str


class _Identity(TypedDict):
    model: str
    weights: str
    preprocess: str


class _Request(TypedDict):
    """What readers of a finished run use of its request."""

    lang: str
    seed: int
    peft: str
    continue_from: str
    keep_lang: str
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    adapter_dim: int
    compacter_reduction: int
    phm_dim: int
    prompt_tokens: int
    optimizer: str
    lr: float
    min_lr: float
    weight_decay: float


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


_OF_FINISHED = (
    "name", "base", "data", "batch", "objective", "history", "versions", "step", "parameters", "logit_scale",
    "adapter_sha256", "result",
)  # fmt: skip
"""The keys that readers of a finished run use."""
_AGAIN = "restore it, or delete the folder and train again"
_OWN = {"request", "base", checksums.KEY}
"""Keys that tell a damaged document of capivara from that of another program."""


def from_json(text: bytes, name: str) -> RunDocument:
    """The document in the text of ``run.json``. Raises ``CapivaraError`` that names the file, and the key, if it is
    damaged."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise CapivaraError(f"{name}: damaged: {error}", _AGAIN) from error
    if not isinstance(document, dict) or _OWN.isdisjoint(document):
        raise CapivaraError(f"{name}: not written by capivara train", "name another folder, or delete this one")
    hint = _AGAIN
    try:
        if "request" not in document:
            raise ValueError("'request' of the run is missing")
        found = checked(RunDocument, document, "the run")
        if found.get("finished"):
            _check_finished(found)
        hint = f"{_AGAIN}; if you changed it yourself, remove {checksums.KEY!r} from it"
        checksums.without_checksum(document)
    except ValueError as error:
        raise CapivaraError(f"{name}: damaged: {error}", hint) from error
    found.pop(checksums.KEY, None)  # type: ignore[misc]
    return found


def _check_finished(document: RunDocument) -> None:
    """Raise ``ValueError`` for what readers of a finished run need and the document does not have."""
    missing = [key for key in _OF_FINISHED if key not in document]
    if missing:
        raise ValueError(f"{missing[0]!r} of the run is missing")
    if "precision" not in document["batch"]:
        raise ValueError("'precision' of 'batch' of the run is missing")
    checked(_Request, document["request"], "'request' of the run")
    checked(_Source, document["base"]["source"], "'source' of 'base' of the run")
    checked(_Identity, document["base"]["identity"], "'identity' of 'base' of the run")
    for author in document["data"]["authors"]:
        checked(tuple[str, str, int], author, "an entry of 'authors' of 'data' of the run")
    val = document["result"]["val"]
    if val is not None and "mean" not in val:
        raise ValueError("'mean' of 'val' of 'result' of the run is missing")


def to_json(document: RunDocument) -> str:
    """The text of ``run.json``, with a checksum."""
    return json.dumps(checksums.with_checksum(document), ensure_ascii=False, indent=2) + "\n"


def metrics_from_json(text: bytes, name: str) -> list[Metrics]:
    """The lines of ``metrics.jsonl``. An incomplete last line, which a kill leaves, is ignored.

    Raises ``CapivaraError`` that names the file and the line for any other damage.
    """
    lines = text.splitlines()
    found: list[Metrics] = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = checked(Metrics, json.loads(line), "the step")
        except ValueError as error:
            if number == len(lines):
                break
            raise CapivaraError(f"{name}: line {number}: damaged: {error}", "train again, or move it away") from error
        found.append(entry)
    return found
