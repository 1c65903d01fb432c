"""Models times languages on one gallery: rows of results in percent, ready for JSON and for a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from capivara_cli import console
from capivara_cli.clip import Clip
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.disparity import disparity
from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.evaluation.gallery import Captions, Gallery
from capivara_cli.evaluation.retrieval import mean_over_k, retrieval
from capivara_cli.evaluation.translations import Translation
from capivara_cli.evaluation.zeroshot import class_vectors, classify

Row = dict[str, Any]
Translate = Callable[[str, str], Translation]
"""What translates from one language into another; it may be missing, which is an error."""
_CHUNK = 4096


@dataclass(frozen=True)
class Contender:
    """A model under evaluation. ``folder`` is its run folder, "" when it is not one of our runs."""

    name: str
    clip: Clip
    folder: str = ""


@dataclass(frozen=True)
class Classes:
    """The names of the classes in one language, and the templates that make prompts of them."""

    names: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass
class Subject:
    """What is evaluated on: a gallery, where each language's captions come from, and classes by language."""

    name: str
    gallery: Gallery
    provenance: dict[str, Provenance]
    classes: dict[str, Classes] = field(default_factory=dict)


def compare(
    subject: Subject, contenders: Sequence[Contender], langs: Sequence[str], ks: Sequence[int], translate: Translate
) -> dict[str, list[Row]]:
    """{"retrieval", "classification", "disparity"}: one row per model and language, and per model.

    A row of retrieval: set, split, lang, model, n_images, n_captions, n_uncaptioned, text_to_image and image_to_text
    {"R@k", "mean"}, mean_recall, machine_translated, queries_by, provenance. Every score is in percent.
    ``translate`` makes the queries of models that were trained on translated ones (arXiv 2305.03510, routine 3).
    """
    found: dict[str, list[Row]] = {"retrieval": [], "classification": [], "disparity": []}
    for contender in contenders:
        rows = [
            _retrieval_row(subject, contender, lang, ks, translate)
            for lang in langs
            if lang in subject.gallery.captions
        ]
        found["retrieval"] += rows
        classified = [_classification_row(subject, contender, lang, translate) for lang in subject.classes]
        found["classification"] += classified
        found["disparity"] += _disparity_rows(rows, "mean_recall") + _disparity_rows(classified, "top1")
    return found


def embed_texts(clip: Clip, texts: Sequence[str], lang: str, what: str) -> npt.NDArray[np.float32]:
    """[T, d]: equal texts are embedded once, so they get equal embeddings, whatever batch they fall into."""
    different = list(dict.fromkeys(texts))
    place = {text: index for index, text in enumerate(different)}
    blocks = [np.zeros((0, clip.dim), np.float32)]
    progress = console.Progress(what, len(different))
    for start in range(0, len(different), _CHUNK):
        chunk = different[start : start + _CHUNK]
        blocks.append(clip.embed_texts(chunk, lang))
        progress.advance(len(chunk))
    progress.close()
    return np.concatenate(blocks[1:] or blocks)[[place[text] for text in texts]]


def _queries(captions: Captions, lang: str, clip: Clip, translate: Translate) -> tuple[Captions, str, str]:
    """The captions as the model wants them, the language they are in, and who translated them ("": nobody)."""
    pivot = clip.translate_queries
    if pivot in ("", lang):
        return captions, lang, ""
    made = translate(lang, pivot).of(captions)
    return made, pivot, ", ".join(made.by)


def _retrieval_row(subject: Subject, contender: Contender, lang: str, ks: Sequence[int], translate: Translate) -> Row:
    captions, said_in, by = _queries(subject.gallery.captions[lang], lang, contender.clip, translate)
    texts = embed_texts(contender.clip, captions.texts, said_in, f"eval: {lang} captions")
    measured = retrieval(subject.gallery.images_for(contender.clip), texts, captions.owners, ks)
    return {
        **_head(subject, contender, lang),
        "n_images": measured.n_images,
        "n_captions": measured.n_captions,
        "n_uncaptioned": measured.n_uncaptioned,
        "text_to_image": _percents(measured.text_to_image),
        "image_to_text": _percents(measured.image_to_text),
        "mean_recall": 100 * measured.mean_recall,
        "machine_translated": subject.provenance[lang].machine_translated,
        "queries_by": by,
        "provenance": {
            **asdict(subject.provenance[lang]),
            "captions_by": dict(subject.gallery.captions[lang].by),
        },
    }


def _classification_row(subject: Subject, contender: Contender, lang: str, translate: Translate) -> Row:
    classes = subject.classes[lang]
    labels = subject.gallery.labels
    labelled = [row for row, label in enumerate(labels) if label is not None]
    by = ""

    def embed(prompts: list[str]) -> npt.NDArray[np.float32]:
        nonlocal by
        wanted, said_in, by = _queries(Captions(prompts, [0] * len(prompts)), lang, contender.clip, translate)
        if len(wanted.texts) < len(prompts):
            raise CapivaraError(f"{subject.name}: a prompt in {lang} is translated to nothing")
        return embed_texts(contender.clip, wanted.texts, said_in, f"eval: {lang} prompts")

    vectors = class_vectors(embed, classes.names, classes.templates)
    images = subject.gallery.images_for(contender.clip)[labelled]
    measured = classify(images, [label for label in labels if label is not None], vectors)
    return {
        **_head(subject, contender, lang),
        "n_images": measured.n_images,
        "n_classes": measured.n_classes,
        "n_templates": len(classes.templates),
        "queries_by": by,
        "top1": 100 * measured.top1,
        "top5": None if measured.top5 is None else 100 * measured.top5,
        "mean_per_class": 100 * measured.mean_per_class,
    }


def _head(subject: Subject, contender: Contender, lang: str) -> Row:
    split = next((each.split for each in subject.provenance.values()), "")
    return {"set": subject.name, "split": split, "lang": lang, "model": contender.name}


def _percents(recalls: Mapping[int, float]) -> dict[str, float]:
    return {**{f"R@{k}": 100 * value for k, value in recalls.items()}, "mean": 100 * mean_over_k(dict(recalls))}


def _disparity_rows(rows: Sequence[Row], score: str) -> list[Row]:
    """One row over the languages of one model, none when there is only one language."""
    if len(rows) < 2:
        return []
    measured = disparity({row["lang"]: row[score] for row in rows})
    head = {key: rows[0][key] for key in ("set", "split", "model")}
    return [{**head, "score": score, "languages": [row["lang"] for row in rows], **asdict(measured)}]
