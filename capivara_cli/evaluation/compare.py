"""Models times languages on one set: rows of results in percent, each model compared with the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from capivara_cli.evaluation import significance
from capivara_cli.evaluation.disparity import disparity
from capivara_cli.evaluation.examples import Answers
from capivara_cli.evaluation.gallery import Captions, identity_of
from capivara_cli.evaluation.measure import Contender, Measured, Row, Subject, measure_classification, measure_retrieval
from capivara_cli.evaluation.probing import measure_probe
from capivara_cli.evaluation.queries import Queries

Floats = npt.NDArray[np.float32]
PARTS = ("retrieval", "classification", "disparity")
MODES = ("zero-shot", "linear-probe", "few-shot")


@dataclass(frozen=True)
class Embedded:
    """What every model made of one language of a set: enough to show examples. Models whose queries were translated,
    and lost some, are not among them."""

    lang: str
    captions: Captions
    models: dict[str, Answers]


@dataclass(frozen=True)
class Protocol:
    """How is measured: ``ks`` of recall at k, how captions become queries, which ``modes`` of classification.

    ``watch`` is shown the embeddings of each language.
    """

    ks: Sequence[int]
    queries: Queries
    modes: Sequence[str] = ("zero-shot",)
    seed: int = 0
    watch: Callable[[Embedded], None] | None = None


def compare(
    subject: Subject, contenders: Sequence[Contender], langs: Sequence[str], protocol: Protocol
) -> dict[str, list[Row]]:
    """{"retrieval", "classification", "disparity"}: the rows of ``eval.json``, as docs/format.md describes them.

    Every score is in percent, every difference in points. A row's ``versus`` compares it with the first model's on the
    same set and language; ``p_holm`` is adjusted for all comparisons of this set and task.
    """
    captioned = [lang for lang in langs if lang in subject.gallery.captions]
    retrieved = [_retrieve(subject, contenders, lang, protocol) for lang in captioned]
    named = list(subject.classes) if "zero-shot" in protocol.modes else []
    classified = [
        [measure_classification(subject, each, lang, protocol.queries) for each in contenders] for lang in named
    ]
    found = {"retrieval": _compared(retrieved), "classification": _compared(classified)}
    spread = _disparities(found["retrieval"], "mean_recall") + _disparities(found["classification"], "score")
    for mode in protocol.modes:
        if mode != "zero-shot" and subject.classes:
            towers = {identity_of(each.clip): each for each in reversed(contenders)}
            found["classification"] += [
                measure_probe(subject, each, mode, protocol.seed) for each in reversed(towers.values())
            ]
    return {**found, "disparity": spread}


def _retrieve(subject: Subject, contenders: Sequence[Contender], lang: str, protocol: Protocol) -> list[Measured]:
    measured = [measure_retrieval(subject, each, lang, protocol.ks, protocol.queries) for each in contenders]
    if protocol.watch is not None:
        models = {each.row["model"]: each.answers for each in measured if each.answers is not None}
        protocol.watch(Embedded(lang, subject.gallery.captions[lang], models))
    return measured


def _compared(groups: Iterable[Sequence[Measured]]) -> list[Row]:
    """All rows, those of each group compared with its first."""
    rows: list[Row] = []
    for first, *others in groups:
        rows.append(first.row)
        for other in others:
            paired = first.outputs.against(other.outputs)
            other.row["versus"] = {
                "model": first.row["model"],
                "difference": 100 * paired.difference,
                "interval": [100 * paired.low, 100 * paired.high],
                "p": paired.p,
            }
            rows.append(other.row)
    comparisons = [row["versus"] for row in rows if row["versus"]]
    for versus, adjusted in zip(comparisons, significance.holm([each["p"] for each in comparisons]), strict=True):
        versus["p_holm"] = adjusted
    return rows


def _disparities(rows: Sequence[Row], score: str) -> list[Row]:
    """One row per model over its languages, none where there is only one language."""
    found: list[Row] = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        if len(own) < 2:
            continue
        head: dict[str, Any] = {key: own[0][key] for key in ("set", "split", "model")}
        name = score if score == "mean_recall" else own[0]["metric"]
        measured = disparity({row["lang"]: row[score] for row in own})
        found.append({**head, "score": name, "languages": [row["lang"] for row in own], **asdict(measured)})
    return found
