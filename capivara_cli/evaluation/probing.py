"""Probes of an image tower on a set: rows of ``eval.json`` that know no language."""

from __future__ import annotations

import numpy as np

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.evalset import Classes
from capivara_cli.evaluation.gallery import Gallery
from capivara_cli.evaluation.measure import (
    NO_NAME,
    Contender,
    Row,
    Subject,
    class_head,
    labelled,
    percents,
    scored_part,
)
from capivara_cli.evaluation.probes import Episodes, Labelled, few_shot, linear_probe


def measure_probe(subject: Subject, contender: Contender, mode: str, seed: int) -> Row:
    """``linear-probe`` or ``few-shot`` on the embeddings of one image tower, with the training images of the set.

    Raises ``CapivaraError`` for a linear probe without images to train on. Episodes without them are drawn from the
    images of the split itself.
    """
    classes = next(iter(subject.classes.values()))
    row = {
        **class_head(subject, contender, "", mode, classes),
        "n_templates": 0,
        "templates_by": "",
        "machine_translated": False,
        "queries_by": "",
    }
    test = _labelled(subject.gallery, subject, contender, classes)
    train = None if subject.train is None else _labelled(subject.train, subject, contender, classes)
    if mode == "few-shot":
        return {**row, **_episodes(test, train, seed)}
    if train is None:
        raise CapivaraError(
            f"{subject.name}: a linear probe needs images to train on", "--train SHARDS, with a class for each image"
        )
    probe = linear_probe(train, test, len(classes.names) + classes.unnamed, subject.metric, seed=seed)
    fit = {"cost": probe.cost, "n_train": probe.n_train, "n_val": probe.n_val, "converged": probe.converged}
    return {**row, **scored_part(probe.test, (*classes.names, *[NO_NAME] * classes.unnamed)), "fit": fit}


def _episodes(test: Labelled, train: Labelled | None, seed: int) -> Row:
    plan = Episodes(seed=seed)
    found = few_shot(test, None, plan) if train is None else few_shot(train, test, plan)
    return {
        "metric": "accuracy",
        "score": 100 * found.accuracy,
        "interval": percents(found.interval),
        "n_images": len(test.images),
        "n_classes": found.n_classes,
        **dict.fromkeys(("top1", "top5", "mean_per_class", "map_11_point", "average_precision", "roc_auc")),
        "confusion": None,
        "confused": [],
        "episodes": {"way": plan.way, "shot": plan.shot, "queries": plan.queries, "count": plan.count},
        "classes_left_out": found.left_out,
    }


def _labelled(gallery: Gallery, subject: Subject, contender: Contender, classes: Classes) -> Labelled:
    images, truth = labelled(gallery, contender.clip, classes, subject.metric)
    return Labelled(images, np.asarray(truth))
