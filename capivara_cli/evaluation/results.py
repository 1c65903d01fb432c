"""The results of an evaluation as typed rows, the contents of ``eval.json`` (docs/format.md).

The fields of a row are the keys of its JSON object, in the same order. Scores are in percent, differences in points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.storage.typed_json import KEY, OPTIONAL, from_json, to_json

Interval = tuple[float, float]
"""The lower and upper bound of a 95 % interval."""
RETRIEVAL, CLASSIFICATION, DISPARITY = ("retrieval", "classification", "disparity")
ZERO_SHOT, LINEAR_PROBE, FEW_SHOT = ("zero-shot", "linear-probe", "few-shot")
MEAN_RECALL = "mean_recall"
PEOPLE = "captions by people"
"""The variant of a retrieval row with captions by people and others: only the former, and the images that have one."""


@dataclass(frozen=True)
class Versus:
    """The difference between a row and the first model's row, with its 95 % interval and p-value.

    ``p_holm``: p adjusted for all comparisons of the set and task; files of older versions may lack it.
    """

    model: str
    difference: float
    interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None

    @property
    def probability(self) -> float | None:
        """The adjusted p-value if it is known, otherwise the unadjusted one."""
        return self.p if self.p_holm is None else self.p_holm


@dataclass(frozen=True)
class RecallVariant:
    """The recalls of a row if some captions are scored differently or left out; keys are as in ``RetrievalRow``.

    ``n_images``, ``interval`` and ``versus`` are for the variant ``PEOPLE``; its p-values are not adjusted.
    """

    n_captions: int
    text_to_image: dict[str, float]
    image_to_text: dict[str, float]
    mean_recall: float
    n_images: int | None = field(default=None, metadata={OPTIONAL: True})
    interval: Interval | None = field(default=None, metadata={OPTIONAL: True})
    versus: Versus | None = field(default=None, metadata={OPTIONAL: True})


@dataclass(frozen=True, kw_only=True)
class RetrievalRow:
    """Recall of one model on one set in one language. ``text_to_image`` and ``image_to_text``: "R@k" and "mean".

    ``synthetic``: some captions, or the texts they were translated from, were written by a captioner, not by people.
    """

    set: str
    split: str = ""
    lang: str
    model: str
    n_images: int | None = None
    n_captions: int | None = None
    n_uncaptioned: int = 0
    text_to_image: dict[str, float]
    image_to_text: dict[str, float]
    mean_recall: float
    median_rank: dict[str, float] = field(default_factory=dict)
    interval: Interval | None = None
    versus: Versus | None = None
    variants: dict[str, RecallVariant] = field(default_factory=dict)
    machine_translated: bool = False
    synthetic: bool = False
    queries_by: str = ""
    prompt: str = ""
    provenance: Provenance | None = None

    @property
    def score(self) -> float:
        """The score by which models are compared: the mean recall."""
        return self.mean_recall

    @property
    def metric(self) -> str:
        """The name of ``score``, a key of ``metric_names.METRICS``."""
        return MEAN_RECALL

    @property
    def mode(self) -> str:
        """The mode of classification, "" for retrieval."""
        return ""

    @property
    def identity(self) -> tuple[str, ...]:
        """What the row measures. A new row of the same identity replaces an old one."""
        return self.set, self.split, self.model, self.lang, self.prompt, self.queries_by


@dataclass(frozen=True)
class ConfusionMatrix:
    """Images by true class (rows) and predicted class (columns), with the names of the classes."""

    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ProbeFit:
    """How a linear probe was fitted: the fields of ``probes.LinearProbe`` of the same names."""

    cost: float
    n_train: int
    n_val: int
    converged: bool


@dataclass(frozen=True, kw_only=True)
class ClassificationRow:
    """Classification by one model on one set; ``lang`` is "" for a probe, which uses no text.

    ``score`` is the value of ``metric``; metrics that do not apply are None. ``confused``: the most frequent mistakes,
    as (true class, predicted class, number of images). ``fit`` is for a linear probe; ``episodes`` and
    ``classes_left_out`` (the number of classes with too few images) are for few-shot episodes.
    """

    set: str
    split: str = ""
    lang: str
    model: str
    mode: str = ZERO_SHOT
    metric: str = "accuracy"
    versus: Versus | None = None
    names_by: str = ""
    provenance: Provenance | None = None
    n_templates: int | None = None
    templates_by: str = ""
    machine_translated: bool = False
    queries_by: str = ""
    score: float
    top1: float | None = None
    top5: float | None = None
    mean_per_class: float | None = None
    map_11_point: float | None = None
    average_precision: float | None = None
    roc_auc: float | None = None
    n_images: int | None = None
    n_classes: int | None = None
    interval: Interval | None = None
    confusion: ConfusionMatrix | None = None
    confused: tuple[tuple[str, str, int], ...] = ()
    fit: ProbeFit | None = field(default=None, metadata={OPTIONAL: True})
    episodes: dict[str, int] | None = field(default=None, metadata={OPTIONAL: True})
    classes_left_out: int | None = field(default=None, metadata={OPTIONAL: True})

    @property
    def synthetic(self) -> bool:
        """False: class names are no captions."""
        return False

    @property
    def identity(self) -> tuple[str, ...]:
        """As in ``RetrievalRow``."""
        return self.set, self.split, self.model, self.lang, self.mode, self.queries_by


@dataclass(frozen=True, kw_only=True)
class DisparityRow:
    """The spread of one model's score over the languages of a set, in points; fields as in ``disparity.Disparity``.

    ``metric`` names the score: "mean_recall", or the metric of the set.
    """

    set: str
    split: str = ""
    model: str
    metric: str = field(default=MEAN_RECALL, metadata={KEY: "score"})
    languages: tuple[str, ...]
    mean: float | None = None
    range: float
    std: float
    worst: str = ""
    gap_to_english: dict[str, float] | None = None

    @property
    def gap_of_worst(self) -> float | None:
        """English minus the worst language, 0 if English is the worst; None without English."""
        return self.gap_to_english.get(self.worst, 0.0) if self.gap_to_english else None

    @property
    def identity(self) -> tuple[str, ...]:
        """As in ``RetrievalRow``."""
        return self.set, self.split, self.model, self.metric


ScoredRow = RetrievalRow | ClassificationRow
AnyRow = RetrievalRow | ClassificationRow | DisparityRow
_Row = TypeVar("_Row", bound=AnyRow)

_FEW_SHOT_SCORE = ("score", "interval", "n_images", "n_classes")
"""Keys that are next to each other in a row of few-shot episodes, but not in other rows."""


@dataclass(frozen=True)
class EvalResults:
    """All rows of an evaluation, or of an ``eval.json``, by part."""

    retrieval: tuple[RetrievalRow, ...] = ()
    classification: tuple[ClassificationRow, ...] = ()
    disparity: tuple[DisparityRow, ...] = ()

    @classmethod
    def from_json(cls, document: object) -> EvalResults:
        """The results in the contents of ``eval.json``. Raises ``ValueError`` that names the wrong key.

        Keys that rows of older versions lack get their defaults; a missing ``score`` of a classification is its top-1.
        """
        return cls(
            _rows(RetrievalRow, document, RETRIEVAL),
            _rows(ClassificationRow, document, CLASSIFICATION),
            _rows(DisparityRow, document, DISPARITY),
        )

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """The contents of ``eval.json``."""
        found: dict[str, list[dict[str, Any]]] = to_json(self)
        found[CLASSIFICATION] = [_ordered(row) for row in found[CLASSIFICATION]]
        return found

    def __add__(self, other: EvalResults) -> EvalResults:
        return EvalResults(
            self.retrieval + other.retrieval,
            self.classification + other.classification,
            self.disparity + other.disparity,
        )

    @property
    def scored(self) -> tuple[ScoredRow, ...]:
        """The rows of retrieval, then those of classification."""
        return self.retrieval + self.classification

    @property
    def rows(self) -> tuple[AnyRow, ...]:
        """The rows of all parts."""
        return self.scored + self.disparity

    def where(self, keep: Callable[[AnyRow], bool]) -> EvalResults:
        """The rows for which ``keep`` returns true."""
        return EvalResults(
            tuple(filter(keep, self.retrieval)),
            tuple(filter(keep, self.classification)),
            tuple(filter(keep, self.disparity)),
        )

    def renamed(self, name: Callable[[str], str]) -> EvalResults:
        """The same rows with ``name`` applied to the name of each model."""

        def own(rows: tuple[_Row, ...]) -> tuple[_Row, ...]:
            return tuple(replace(row, model=name(row.model)) for row in rows)

        return EvalResults(own(self.retrieval), own(self.classification), own(self.disparity))


def _rows(kind: type[_Row], document: object, part: str) -> tuple[_Row, ...]:
    rows = document.get(part) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"{part!r} is not a list of rows")
    if kind is ClassificationRow:  # older versions wrote no score
        rows = [{"score": row.get("top1"), **row} if isinstance(row, dict) else row for row in rows]
    return tuple(from_json(kind, row, f"a {part} row") for row in rows)


def _ordered(row: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a row of classification, with its keys in the order of existing files."""
    if row["mode"] != FEW_SHOT:
        return row
    position = list(row).index("score")
    others = [key for key in row if key not in _FEW_SHOT_SCORE]
    return {key: row[key] for key in (*others[:position], *_FEW_SHOT_SCORE, *others[position:])}
