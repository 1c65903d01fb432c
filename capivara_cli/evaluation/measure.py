"""One model on one set in one language: a row of results in percent, and what it takes to compare it with another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.comparable import Ratios, of_classification
from capivara_cli.evaluation.evalset import Classes, Metric, Provenance
from capivara_cli.evaluation.examples import Answers
from capivara_cli.evaluation.gallery import Captions, Gallery, Labels
from capivara_cli.evaluation.metrics import multi_hot
from capivara_cli.evaluation.queries import Queries, embed_texts
from capivara_cli.evaluation.retrieval import Retrieval, equal_captions, mean_over_k, retrieval
from capivara_cli.evaluation.zeroshot import Classification, Truth, class_vectors, classify, confused, confusion
from capivara_cli.models.clip import Clip

Floats = npt.NDArray[np.float32]
Row = dict[str, Any]
_MOST_CLASSES = 120  # in a confusion matrix that is kept whole
_MOST_REPEATS = 10_000_000  # pairs of equal captions: one sentence on thousands of images says nothing either way
NO_NAME = "(no name)"
_NUMBERS = ("score", "top1", "top5", "mean_per_class", "map_11_point", "average_precision", "roc_auc")


@dataclass(frozen=True)
class Contender:
    """A model under evaluation. ``folder`` is its run folder, "" when it is not one of our runs."""

    name: str
    clip: Clip
    folder: str = ""


@dataclass
class Subject:
    """What is evaluated on: a gallery, where each language's captions come from, and classes by language.

    ``junk``: language -> keys of images whose caption is none. ``train``: images to fit probes on, where asked for.
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
        return next((each.split for each in self.provenance.values()), "")


@dataclass(frozen=True)
class Measured:
    """A row, and the outputs behind it, image by image: two of the same set and language can be compared."""

    row: Row
    outputs: Any  # Ratios or Ranking, the same for all models on one set
    answers: Answers | None = None  # where every caption was asked


def measure_retrieval(
    subject: Subject, contender: Contender, lang: str, ks: Sequence[int], queries: Queries
) -> Measured:
    """Recall both ways, as a row of ``eval.json`` (docs/format.md)."""
    own, provenance = subject.gallery.captions[lang], subject.provenance[lang]
    asked = queries.of(own, lang, contender.clip)
    texts = embed_texts(contender.clip, asked.captions.texts, asked.lang, f"eval: {lang} captions")
    images = subject.gallery.images_for(contender.clip)
    found = retrieval(images, texts, asked.captions.owners, ks)
    row = {
        "set": subject.name,
        "split": subject.split,
        "lang": lang,
        "model": contender.name,
        "n_images": found.n_images,
        "n_captions": found.n_captions,
        "n_uncaptioned": found.n_uncaptioned,
        **_recalls(found),
        "median_rank": {"text_to_image": found.median_rank_text, "image_to_text": found.median_rank_image},
        "interval": percents(Ratios(found.contributions).interval()),
        "versus": None,
        "variants": _variants(subject, asked.captions, images, texts, lang, ks),
        "machine_translated": provenance.machine_translated,
        "queries_by": asked.by,
        "prompt": queries.prompt,
        "provenance": {**asdict(provenance), "captions_by": dict(own.by)},
    }
    whole = len(asked.captions.texts) == len(own.texts)
    answers = Answers(images, texts, found.text_ranks, found.image_ranks) if whole else None
    return Measured(row, Ratios(found.contributions), answers)


def _variants(
    subject: Subject, captions: Captions, images: Floats, texts: Floats, lang: str, ks: Sequence[int]
) -> dict[str, Row]:
    """The same scores with questionable references treated otherwise: the row itself is the usual definition."""
    found: dict[str, Row] = {}
    junk = {row for row, key in enumerate(subject.gallery.keys) if key in subject.junk.get(lang, ())}
    if junk:
        left = [row for row in range(len(images)) if row not in junk]
        kept = [place for place, owner in enumerate(captions.owners) if owner not in junk]
        clean = retrieval(images[left], texts[kept], captions.without(junk).owners, ks)
        found["without junk"] = {"n_captions": clean.n_captions, **_recalls(clean)}
    repeats = sum(count * count for count in Counter(captions.texts).values())
    positives = equal_captions(captions.texts, captions.owners) if repeats < _MOST_REPEATS else None
    if positives is not None:
        shared = retrieval(images, texts, captions.owners, ks, positives)
        found["equal captions count"] = {"n_captions": shared.n_captions, **_recalls(shared)}
    return found


def _recalls(found: Retrieval) -> Row:
    return {
        "text_to_image": _by_rank(found.text_to_image),
        "image_to_text": _by_rank(found.image_to_text),
        "mean_recall": 100 * found.mean_recall,
    }


def _by_rank(recalls: Mapping[int, float]) -> dict[str, float]:
    return {**{f"R@{k}": 100 * value for k, value in recalls.items()}, "mean": 100 * mean_over_k(dict(recalls))}


def measure_classification(subject: Subject, contender: Contender, lang: str, queries: Queries) -> Measured:
    """Zero-shot classification by the metric of the set, as a row of ``eval.json``."""
    classes = subject.classes[lang]
    images, truth = labelled(subject.gallery, contender.clip, classes, subject.metric)
    embed, translators = queries.embedded_prompts(contender.clip, lang, subject.name)
    vectors = class_vectors(embed, classes.names, classes.templates)
    found = classify(images, truth, vectors, subject.metric, classes.unnamed)
    row = {
        **class_head(subject, contender, lang, "zero-shot", classes),
        "n_templates": len(classes.templates),
        "templates_by": classes.templates_by,
        "machine_translated": classes.machine_translated,
        "queries_by": ", ".join(translators),
        **scored_part(found, (*classes.names, *[NO_NAME] * classes.unnamed)),
    }
    return Measured(row, of_classification(found))


def class_head(subject: Subject, contender: Contender, lang: str, mode: str, classes: Classes) -> Row:
    """What every row of classification begins with."""
    provenance = subject.provenance.get(lang) or next(iter(subject.provenance.values()), None)
    return {
        "set": subject.name,
        "split": subject.split,
        "lang": lang,
        "model": contender.name,
        "mode": mode,
        "metric": subject.metric,
        "versus": None,
        "names_by": classes.names_by,
        "provenance": asdict(provenance) if provenance else None,
    }


def labelled(gallery: Gallery, clip: Clip, classes: Classes, metric: Metric) -> tuple[Floats, Truth]:
    """The images of ``classes`` and the class of each, [N], or, for mAP, which classes each has, [N, C].

    Images that are not labelled, and those of classes without a name in this language, are left out.
    """
    ids = classes.ids or tuple(range(len(classes.names) + classes.unnamed))
    place = {number: index for index, number in enumerate(ids)}
    known = ids if classes.ids else None
    rows = [row for row, labels in enumerate(gallery.labels) if _is_asked(labels, known)]
    images = gallery.images_for(clip)
    images = images if len(rows) == len(images) else images[rows]
    labels = [[place.get(label, label) for label in gallery.labels[row] or ()] for row in rows]
    if metric == "map-11-point":
        return images, multi_hot(labels, len(ids))
    if any(len(each) != 1 for each in labels):
        raise CapivaraError(f"{metric} needs one class for each image, and some have several or none")
    return images, [each[0] for each in labels]


def _is_asked(labels: Labels, known: Sequence[int] | None) -> bool:
    return labels is not None and (known is None or any(label in known for label in labels))


def scored_part(found: Classification, names: Sequence[str]) -> Row:
    """The numbers of a row of classification, in percent, with the confusions behind them."""
    numbers = {key: getattr(found, key) for key in _NUMBERS}
    return {
        **{key: None if value is None else 100 * value for key, value in numbers.items()},
        "n_images": found.n_images,
        "n_classes": found.n_classes,
        "interval": percents(of_classification(found).interval()),
        **_confusions(found, names),
    }


def _confusions(found: Classification, names: Sequence[str]) -> Row:
    if found.labels is None:
        return {"confusion": None, "confused": []}
    counts = confusion(found.predicted, found.labels, found.n_classes)
    whole = {"names": list(names), "counts": counts.tolist()} if found.n_classes <= _MOST_CLASSES else None
    pairs = [[names[true], names[said], count] for true, said, count in confused(counts)]
    return {"confusion": whole, "confused": pairs}


def percents(interval: tuple[float, float]) -> list[float]:
    return [100 * interval[0], 100 * interval[1]]
