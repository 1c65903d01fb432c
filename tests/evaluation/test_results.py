"""The rows of eval.json: key order, older files, what is damaged, and one reader and writer of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.results import ClassificationRow, EvalResults, RetrievalRow
from capivara_cli.reports import eval_results
from capivara_cli.storage.checksums import with_checksum

RECALLS = {"R@1": 10.0, "mean": 10.0}
RETRIEVAL: dict[str, Any] = {
    "set": "toy", "split": "test", "lang": "pt", "model": "m", "n_images": 4, "n_captions": 4, "n_uncaptioned": 0,
    "text_to_image": RECALLS, "image_to_text": RECALLS, "mean_recall": 10.0,
    "median_rank": {"text_to_image": 1.0, "image_to_text": 2.5}, "interval": [9.0, 11.0],
    "versus": {"model": "b", "difference": 1.0, "interval": [0.5, 1.5], "p": 0.01, "p_holm": 0.02},
    "variants": {"without junk": {"n_captions": 3, "text_to_image": RECALLS, "image_to_text": RECALLS,
                                  "mean_recall": 10.0}},
    "machine_translated": False, "synthetic": False, "queries_by": "", "prompt": "",
    "provenance": {"source": "here", "licence": "MIT", "split": "test", "machine_translated": False, "by": "us",
                   "obtained": "drawn", "checksums": {"a": "sha256:1"}, "captions_by": {"us": 4}},
}  # fmt: skip
_HEAD: dict[str, Any] = {
    "set": "dtd", "split": "test", "lang": "", "model": "m", "mode": "few-shot", "metric": "accuracy", "versus": None,
    "names_by": "", "provenance": None, "n_templates": 0, "templates_by": "", "machine_translated": False,
    "queries_by": "",
}  # fmt: skip
_SIX = ("top1", "top5", "mean_per_class", "map_11_point", "average_precision", "roc_auc")
FEW_SHOT: dict[str, Any] = {
    **_HEAD, "score": 50.0, "interval": [49.0, 51.0], "n_images": 9, "n_classes": 3, **dict.fromkeys(_SIX),
    "confusion": None, "confused": [], "episodes": {"way": 5, "shot": 5, "queries": 6, "count": 10},
    "classes_left_out": 1,
}  # fmt: skip
PROBE: dict[str, Any] = {
    **_HEAD, "mode": "linear-probe", "score": 50.0, **dict.fromkeys(_SIX), "n_images": 9, "n_classes": 2,
    "interval": [49.0, 51.0], "confusion": {"names": ["a", "b"], "counts": [[3, 1], [0, 5]]},
    "confused": [["a", "b", 1]], "fit": {"cost": 0.1, "n_train": 9, "n_val": 2, "converged": True},
}  # fmt: skip
DISPARITY: dict[str, Any] = {
    "set": "toy", "split": "test", "model": "m", "score": "mean_recall", "languages": ["en", "pt"], "mean": 15.0,
    "range": 10.0, "std": 5.0, "worst": "pt", "gap_to_english": {"pt": 10.0},
}  # fmt: skip
ALL = {"retrieval": [RETRIEVAL], "classification": [FEW_SHOT, PROBE], "disparity": [DISPARITY]}


def stored(results: EvalResults) -> str:
    return json.dumps(results.to_json())


def test_rows_are_written_as_they_were_read_with_keys_in_the_same_order() -> None:
    assert stored(EvalResults.from_json(ALL)) == json.dumps(ALL)


def test_rows_of_older_versions_get_defaults() -> None:
    old = {"set": "s", "lang": "pt", "model": "m", "top1": 3, "names_by": None}
    row = EvalResults.from_json({"retrieval": [], "classification": [old], "disparity": []}).classification[0]
    assert row == ClassificationRow(set="s", lang="pt", model="m", score=3, top1=3)
    assert (row.mode, row.metric, row.identity) == ("zero-shot", "accuracy", ("s", "", "m", "pt", "zero-shot", ""))
    bare = {"set": "s", "lang": "pt", "model": "m", "text_to_image": {}, "image_to_text": {}, "mean_recall": 1.0}
    row = EvalResults.from_json({"retrieval": [bare], "classification": [], "disparity": []}).retrieval[0]
    assert row == RetrievalRow(set="s", lang="pt", model="m", text_to_image={}, image_to_text={}, mean_recall=1.0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "'retrieval' is not a list of rows"),
        ({"retrieval": []}, "'classification' is not a list of rows"),
        ({**ALL, "retrieval": [3]}, "a retrieval row is 3"),
        ({**ALL, "retrieval": [RETRIEVAL | {"versus": {"model": "b"}}]}, "'difference' of 'versus' of a retrie"),
        ({**ALL, "classification": [{**_HEAD}]}, "'score' of a classification row is None"),
        ({**ALL, "classification": [{**PROBE, "n_images": "many"}]}, "'n_images' of a classification row is 'many'"),
        ({**ALL, "disparity": [{**DISPARITY, "languages": "en"}]}, "'languages' of a disparity row is 'en'"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_an_error_and_is_not_overwritten(tmp_path: Path, document: Any, message: str) -> None:
    path = tmp_path / eval_results.FILE
    path.write_text(json.dumps(document))
    for change in (eval_results.read, lambda folder: eval_results.merge(folder, EvalResults())):
        with pytest.raises(CapivaraError) as raised:
            change(tmp_path)
        assert f"{path}: damaged: {message}" in raised.value.message
        assert raised.value.hint == "move it away and evaluate again"
    assert path.read_text() == json.dumps(document)


def test_new_rows_replace_those_that_measure_the_same(tmp_path: Path) -> None:
    assert eval_results.read(tmp_path) == EvalResults()
    eval_results.merge(tmp_path, EvalResults.from_json(ALL))
    assert (tmp_path / eval_results.FILE).read_text() == json.dumps(with_checksum(ALL), indent=1) + "\n"
    again = {"retrieval": [{**RETRIEVAL, "mean_recall": 11.0}, {**RETRIEVAL, "prompt": "a photo of {}"}],
             "classification": [{**PROBE, "score": 60.0}],
             "disparity": [{**DISPARITY, "score": "accuracy"}]}  # fmt: skip
    eval_results.merge(tmp_path, EvalResults.from_json(again))
    merged = {"retrieval": again["retrieval"], "classification": [FEW_SHOT, *again["classification"]],
              "disparity": [DISPARITY, *again["disparity"]]}  # fmt: skip
    assert stored(eval_results.read(tmp_path)) == json.dumps(merged)


def test_models_are_renamed_and_chosen_in_all_parts() -> None:
    results = EvalResults.from_json(ALL)
    renamed = results.renamed({"m": "runs/m"}.__getitem__)
    assert {row.model for row in renamed.rows} == {"runs/m"} and len(renamed.rows) == 4
    assert renamed.where(lambda row: row.model == "m") == EvalResults()
    assert (results + results).where(lambda row: row.set == "dtd").classification == results.classification * 2


@pytest.mark.parametrize(
    ("part", "row", "keys"),
    [
        ("retrieval", RETRIEVAL, ("set", "split", "model", "lang", "prompt", "queries_by")),
        ("classification", PROBE, ("set", "split", "model", "lang", "mode", "queries_by")),
        ("disparity", DISPARITY, ("set", "split", "model", "score")),
    ],
)
def test_a_row_that_differs_in_one_part_of_its_key_stays(
    part: str, row: dict[str, Any], keys: tuple[str, ...], tmp_path: Path
) -> None:
    """A row is replaced by one with another score alone."""
    numbers = {"retrieval": "mean_recall", "classification": "score", "disparity": "mean"}

    def merge(one: dict[str, Any]) -> None:
        document = {name: [one] if name == part else [] for name in ALL}
        eval_results.merge(tmp_path, EvalResults.from_json(document))

    rows = [row, *({**row, key: "another"} for key in keys)]
    for each in rows:
        merge(each)
    assert json.loads((tmp_path / eval_results.FILE).read_text())[part] == rows
    merge({**row, numbers[part]: 99.0})
    found = json.loads((tmp_path / eval_results.FILE).read_text())[part]
    assert found == [*rows[1:], {**row, numbers[part]: 99.0}]
