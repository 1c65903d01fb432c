"""Measure one model on one set: a row of results, and the outputs per image that a comparison of models needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.evalset import Classes, Metric, Provenance
from capivara_cli.evaluation.examples import Answers
from capivara_cli.evaluation.gallery import Captions, Gallery, Labels
from capivara_cli.evaluation.metrics import multi_hot
from capivara_cli.evaluation.outputs import Outputs, RatioOutputs, of_classification
from capivara_cli.evaluation.probes import Episodes, Labelled, few_shot, linear_probe
from capivara_cli.evaluation.queries import Queries, embed_texts
from capivara_cli.evaluation.results import (
    FEW_SHOT,
    PEOPLE,
    ZERO_SHOT,
    ClassificationRow,
    ConfusionMatrix,
    Interval,
    ProbeFit,
    RecallVariant,
    RetrievalRow,
    ScoredRow,
)
from capivara_cli.evaluation.retrieval import Retrieval, equal_captions, mean_over_k, retrieval
from capivara_cli.evaluation.zeroshot import Classification, Truth, class_vectors, classify, confused, confusion
from capivara_cli.models.clip import Clip

Floats = npt.NDArray[np.float32]
Scored = TypeVar("Scored", bound=ScoredRow)
_MOST_CLASSES = 120  # larger confusion matrices are not stored
_MOST_REPEATS = 10_000_000  # pairs of equal captions; sets with more have a few sentences for thousands of images
_NO_NAME = "(no name)"
_PERCENTAGES = ("score", "top1", "top5", "mean_per_class", "map_11_point", "average_precision", "roc_auc")


@dataclass(frozen=True)
class Contender:
    """A model under evaluation. ``folder``: its run folder, "" for a model that capivara did not train."""

    name: str
    clip: Clip
    folder: str = ""


@dataclass
class EvalData:
    """A set whose images are embedded.

    ``provenance``, ``classes`` and ``junk`` (see ``EvalSet``) are by language. ``train``: the images on which probes
    are fitted, None if there are none.
    """

    name: str
    gallery: Gallery
    provenance: dict[str, Provenance]
    classes: dict[str, Classes] = field(default_factory=dict)
    metric: Metric = "accuracy"
    junk: dict[str, frozenset[str]] = field(default_factory=dict)
    train: Gallery | None = None

    @property
    def split(self) -> str:
        """The split of the set, "" if it has none."""
        return next((each.split for each in self.provenance.values()), "")


@dataclass(frozen=True)
class Measurement(Generic[Scored]):
    """A row of results, and the outputs of the model per image, of the same kind for all models on a set.

    ``answers``: the embeddings and ranks of retrieval; None if the translation lost captions, which then have no rank.
    ``people``: the outputs for the variant ``PEOPLE``, if the row has it.
    """

    row: Scored
    outputs: Outputs
    answers: Answers | None = None
    people: Outputs | None = None


# --- retrieval ---
def measure_retrieval(
    data: EvalData, contender: Contender, lang: str, ks: Sequence[int], queries: Queries
) -> Measurement[RetrievalRow]:
    """Measure recall at ``ks`` in both directions, for the captions in ``lang``."""
    own, provenance = data.gallery.captions[lang], data.provenance[lang]
    own_queries = queries.of(own, lang, contender.clip)
    texts = embed_texts(contender.clip, own_queries.captions.texts, own_queries.lang, f"eval: {lang} captions")
    images = data.gallery.images_for(contender.clip)
    found = retrieval(images, texts, own_queries.captions.owners, ks)
    human = None if own_queries.by else _by_people(own, images, texts, ks)
    variants = _variants(data, own_queries.captions, images, texts, lang, ks)
    row = RetrievalRow(
        set=data.name,
        split=data.split,
        lang=lang,
        model=contender.name,
        n_images=found.n_images,
        n_captions=found.n_captions,
        n_uncaptioned=found.n_uncaptioned,
        text_to_image=_recalls(found.text_to_image),
        image_to_text=_recalls(found.image_to_text),
        mean_recall=100 * found.mean_recall,
        median_rank={"text_to_image": found.median_rank_text, "image_to_text": found.median_rank_image},
        interval=_percents(RatioOutputs(found.contributions).interval()),
        variants=variants if human is None else {PEOPLE: _people_variant(human), **variants},
        machine_translated=provenance.machine_translated,
        synthetic=own.n_synthetic > 0,
        queries_by=own_queries.by,
        prompt=queries.prompt,
        provenance=replace(provenance, captions_by=dict(own.by)),
    )
    complete = len(own_queries.captions.texts) == len(own.texts)
    answers = Answers(images, texts, found.text_ranks, found.image_ranks) if complete else None
    people = None if human is None else RatioOutputs(human.contributions)
    return Measurement(row, RatioOutputs(found.contributions), answers, people)


def _by_people(captions: Captions, images: Floats, texts: Floats, ks: Sequence[int]) -> Retrieval | None:
    """Retrieval with the captions that people wrote, and their images; None if these are all captions, or too few."""
    kept = [index for index, human in enumerate(captions.human) if human]
    rows = sorted({captions.owners[index] for index in kept})
    if len(kept) == len(captions.texts) or len(rows) < 2:
        return None
    place = {row: number for number, row in enumerate(rows)}
    return retrieval(images[rows], texts[kept], [place[captions.owners[index]] for index in kept], ks)


def _people_variant(found: Retrieval) -> RecallVariant:
    interval = _percents(RatioOutputs(found.contributions).interval())
    return replace(_variant(found), n_images=found.n_images, interval=interval)


def _variants(
    data: EvalData, captions: Captions, images: Floats, texts: Floats, lang: str, ks: Sequence[int]
) -> dict[str, RecallVariant]:
    """The recalls if questionable captions are scored differently from the usual definition, which the row has."""
    found: dict[str, RecallVariant] = {}
    junk = {row for row, key in enumerate(data.gallery.keys) if key in data.junk.get(lang, ())}
    if junk:
        left = [row for row in range(len(images)) if row not in junk]
        kept = [index for index, owner in enumerate(captions.owners) if owner not in junk]
        clean = retrieval(images[left], texts[kept], captions.without(junk).owners, ks)
        found["without junk"] = _variant(clean)
    repeats = sum(count * count for count in Counter(captions.texts).values())
    positives = equal_captions(captions.texts, captions.owners) if repeats < _MOST_REPEATS else None
    if positives is not None:
        found["equal captions count"] = _variant(retrieval(images, texts, captions.owners, ks, positives))
    return found


def _variant(found: Retrieval) -> RecallVariant:
    both = _recalls(found.text_to_image), _recalls(found.image_to_text)
    return RecallVariant(found.n_captions, *both, 100 * found.mean_recall)


def _recalls(recalls: Mapping[int, float]) -> dict[str, float]:
    return {**{f"R@{k}": 100 * value for k, value in recalls.items()}, "mean": 100 * mean_over_k(dict(recalls))}


# --- classification ---
def measure_classification(
    data: EvalData, contender: Contender, lang: str, queries: Queries
) -> Measurement[ClassificationRow]:
    """Measure zero-shot classification with the class names and templates in ``lang``."""
    classes = data.classes[lang]
    images, truth = _labelled_images(data.gallery, contender.clip, classes, data.metric)
    embed, translators = queries.embedded_prompts(contender.clip, lang, data.name)
    vectors = class_vectors(embed, classes.names, classes.templates)
    found = classify(images, truth, vectors, data.metric, classes.unnamed)
    row = _row(
        data,
        contender,
        lang,
        ZERO_SHOT,
        classes,
        n_templates=len(classes.templates),
        templates_by=classes.templates_by,
        machine_translated=classes.machine_translated,
        queries_by=", ".join(translators),
        **_scores(found, classes),
    )
    return Measurement(row, of_classification(found))


def measure_probe(data: EvalData, contender: Contender, mode: str, seed: int) -> ClassificationRow:
    """Measure a probe (mode "linear-probe" or "few-shot") on the embeddings of one image tower.

    It is fitted on the set's training images. Without them, few-shot episodes take their examples from the images of
    the split, and a linear probe raises ``CapivaraError``.
    """
    classes = next(iter(data.classes.values()))
    test = _labelled(data.gallery, data, contender, classes)
    train = None if data.train is None else _labelled(data.train, data, contender, classes)
    if mode == FEW_SHOT:
        numbers = _episodes(test, train, seed)
    elif train is None:
        raise CapivaraError(
            f"{data.name}: a linear probe needs training images", "--train SHARDS, with a class for each image"
        )
    else:
        probe = linear_probe(train, test, len(classes.names) + classes.unnamed, data.metric, seed=seed)
        fit = ProbeFit(probe.cost, probe.n_train, probe.n_val, probe.converged)
        numbers = {**_scores(probe.test, classes), "fit": fit}
    return _row(data, contender, "", mode, classes, **{"n_templates": 0, **numbers})


def _row(
    data: EvalData, contender: Contender, lang: str, mode: str, classes: Classes, **numbers: Any
) -> ClassificationRow:
    provenance = data.provenance.get(lang) or next(iter(data.provenance.values()), None)
    about: dict[str, Any] = {"metric": data.metric, "names_by": classes.names_by, "provenance": provenance, **numbers}
    return ClassificationRow(set=data.name, split=data.split, lang=lang, model=contender.name, mode=mode, **about)


def _scores(found: Classification, classes: Classes) -> dict[str, Any]:
    """The fields of a row of classification: scores in percent, and the confusion matrix."""
    values = {key: getattr(found, key) for key in _PERCENTAGES}
    percentages = {key: None if value is None else 100 * value for key, value in values.items()}
    interval = _percents(of_classification(found).interval())
    numbers = {**percentages, "n_images": found.n_images, "n_classes": found.n_classes, "interval": interval}
    if found.labels is None:
        return numbers
    names = (*classes.names, *[_NO_NAME] * classes.unnamed)
    counts = confusion(found.predicted, found.labels, found.n_classes)
    if found.n_classes <= _MOST_CLASSES:
        numbers["confusion"] = ConfusionMatrix(names, tuple(map(tuple, counts.tolist())))
    numbers["confused"] = tuple((names[true], names[predicted], count) for true, predicted, count in confused(counts))
    return numbers


def _episodes(test: Labelled, train: Labelled | None, seed: int) -> dict[str, Any]:
    """The fields of a row of few-shot classification."""
    plan = Episodes(seed=seed)
    found = few_shot(test, None, plan) if train is None else few_shot(train, test, plan)
    return {
        "metric": "accuracy",
        "score": 100 * found.accuracy,
        "interval": _percents(found.interval),
        "n_images": len(test.images),
        "n_classes": found.n_classes,
        "episodes": {"way": plan.way, "shot": plan.shot, "queries": plan.queries, "count": plan.count},
        "classes_left_out": found.n_excluded,
    }


def _labelled(gallery: Gallery, data: EvalData, contender: Contender, classes: Classes) -> Labelled:
    images, truth = _labelled_images(gallery, contender.clip, classes, data.metric)
    return Labelled(images, np.asarray(truth))


def _labelled_images(gallery: Gallery, clip: Clip, classes: Classes, metric: Metric) -> tuple[Floats, Truth]:
    """The images [N, d] with a label, and the class of each [N] or, for mAP, its classes, bool [N, C].

    Images whose classes have no name in this language are excluded too.
    """
    ids = classes.ids or tuple(range(len(classes.names) + classes.unnamed))
    column = {number: index for index, number in enumerate(ids)}
    known = ids if classes.ids else None
    rows = [row for row, labels in enumerate(gallery.labels) if _has_name(labels, known)]
    images = gallery.images_for(clip)
    images = images if len(rows) == len(images) else images[rows]
    labels = [[column.get(label, label) for label in gallery.labels[row] or ()] for row in rows]
    if metric == "map-11-point":
        return images, multi_hot(labels, len(ids))
    if any(len(each) != 1 for each in labels):
        raise CapivaraError(f"{metric} needs exactly one class per image; some images have several or none")
    return images, [each[0] for each in labels]


def _has_name(labels: Labels, known: Sequence[int] | None) -> bool:
    return labels is not None and (known is None or any(label in known for label in labels))


def _percents(interval: Interval) -> Interval:
    return 100 * interval[0], 100 * interval[1]
