"""``run.json`` and ``metrics.jsonl``: what is written is read again, and damage is named."""

from __future__ import annotations

import json

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_document import RunDocument, from_json, metrics_from_json, to_json
from capivara_cli.storage.checksums import with_checksum


def test_what_is_written_is_read_again_in_the_same_order() -> None:
    document: RunDocument = {"name": "pt", "request": {"lang": "pt", "steps": 3}, "logit_bias": None, "step": 3}
    text = to_json(document)
    assert text == json.dumps(with_checksum(document), indent=2) + "\n"
    assert from_json(text.encode(), "run.json") == document


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"request": {', "run.json: damaged"),
        ("3", "run.json: not written by capivara train"),
        ('{"name": "pt"}', "run.json: not written by capivara train"),
        ('{"request": {}, "base": []}', r"run.json: damaged: 'base' of the run is \[\]"),
        ('{"request": {}, "logit_scale": null}', "run.json: damaged: 'logit_scale' of the run is None"),
    ],
)
def test_damage_is_named(text: str, says: str) -> None:
    with pytest.raises(CapivaraError, match=says):
        from_json(text.encode(), "run.json")


def test_a_torn_last_line_of_the_metrics_counts_as_not_written() -> None:
    rest = {"terms": {}, "lr": 0.1, "logit_scale": 2.0, "tokens": 3, "padded": 3, "timing": {}}
    lines = [{"step": 1, "loss": 2.5, **rest}, {"step": 2, "loss": 1.5, **rest}]
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    assert [line["loss"] for line in metrics_from_json(whole, "metrics.jsonl")] == [2.5, 1.5]
    assert [line["step"] for line in metrics_from_json(whole[:-9], "metrics.jsonl")] == [1]
    with pytest.raises(CapivaraError, match=r"metrics\.jsonl: line 1: damaged"):
        metrics_from_json(b"{\n" + whole, "metrics.jsonl")
