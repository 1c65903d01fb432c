"""Rows of eval.json with round numbers: two models, two languages, a set of each task."""

from __future__ import annotations

from typing import Any

from capivara_cli.evaluation.results import EvalResults

Row = dict[str, Any]


def recalled(model: str, lang: str, mean: float, **more: Any) -> Row:
    recalls = {"R@1": mean - 10, "mean": mean}
    return {
        "set": "flickr", "split": "test", "lang": lang, "model": model, "n_images": 1000, "n_captions": 5000,
        "n_uncaptioned": 0, "text_to_image": recalls, "image_to_text": recalls, "mean_recall": mean,
        "median_rank": {"text_to_image": 2.0, "image_to_text": 1.5}, "interval": [mean - 2, mean + 2.25],
        "versus": None, "variants": {}, "machine_translated": False, "synthetic": False,
        "queries_by": "", "prompt": "",
        "provenance": {"source": "Flickr", "licence": "own", "captions_by": {"people": 5000}},
    } | more  # fmt: skip


def against(model: str, difference: float, p_holm: float) -> Row:
    return {"model": model, "difference": difference, "interval": [difference - 1, difference + 1], "p": p_holm / 2,
            "p_holm": p_holm}  # fmt: skip


def typed(**rows: list[Row]) -> EvalResults:
    return EvalResults.from_json({"retrieval": [], "classification": [], "disparity": []} | rows)


def results() -> EvalResults:
    return typed(**documents())


def documents() -> dict[str, list[Row]]:
    translated = {"machine_translated": True, "provenance": {"captions_by": {"nllb:eng-hin": 9}}}
    return {
        "retrieval": [
            recalled("base", "pt", 100 / 3),
            recalled("runs/pt_1", "pt", 50.0, versus=against("base", 50 - 100 / 3, 0.004)),
            recalled("base", "hi", 20.0, **translated),
            recalled("runs/pt_1", "hi", 21.0, versus=against("base", 1.0, 0.4), **translated),
        ],
        "classification": [
            {"set": "dtd", "split": "test", "lang": "pt", "model": "base", "mode": "zero-shot", "metric": "accuracy",
             "score": 40.5, "top1": 40.5, "top5": None, "interval": [38.0, 43.0], "versus": None, "n_images": 1880,
             "n_classes": 47, "names_by": "CAPIVARA", "machine_translated": False, "queries_by": "opus"},
        ],
        "disparity": [
            {"set": "flickr", "split": "test", "model": "base", "score": "mean_recall", "languages": ["pt", "en"],
             "mean": 30.0, "range": 10.0, "std": 5.0, "worst": "pt", "gap_to_english": {"pt": 10.0}},
        ],
    }  # fmt: skip
