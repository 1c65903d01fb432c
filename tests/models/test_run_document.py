"""``run.json`` and ``metrics.jsonl``: what is written is read again, and damage is named."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.finished import finished_document

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
        ('{"base": {}}', r"run\.json: damaged: 'request' of the run is missing"),
        ('{"request": 7}', r"run\.json: damaged: 'request' of the run is 7"),
        ('{"request": {}, "base": []}', r"run.json: damaged: 'base' of the run is \[\]"),
        ('{"request": {}, "logit_scale": null}', "run.json: damaged: 'logit_scale' of the run is None"),
    ],
)
def test_damage_is_named(text: str, says: str) -> None:
    with pytest.raises(CapivaraError, match=says):
        from_json(text.encode(), "run.json")


def places(value: Any, *at: Any) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value in a document."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*at, key)
        if isinstance(value[key], (dict, list)):
            yield from places(value[key], *at, key)


OPTIONAL = {("request", "steps"), ("finished",), ("objective", "clip"), ("versions", "capivara"),
            ("data", "captions", "pt"), ("data", "authors", 0), ("parameters", "targets", 0),
            ("result", "val", "pt")}  # fmt: skip
"""What a document may be without."""


@pytest.mark.parametrize("place", places(finished_document()), ids=str)
@pytest.mark.parametrize("damage", ["missing", "of another type"])
def test_a_key_that_is_missing_or_of_another_type_is_named(place: tuple[Any, ...], damage: str) -> None:
    document: Any = finished_document()
    inner = functools.reduce(lambda value, key: value[key], place[:-1], document)
    if damage == "missing":
        del inner[place[-1]]
    else:
        inner[place[-1]] = 7 if isinstance(inner[place[-1]], (dict, list)) else [{"a": 1}]
    if place == ("request", "steps") or (damage == "missing" and place in OPTIONAL):
        from_json(json.dumps(document).encode(), "run.json")
        return
    with pytest.raises(CapivaraError, match=r"^run\.json: damaged: .*of the run (is|has)") as caught:
        from_json(json.dumps(document).encode(), "run.json")
    named = next(str(key) for key in reversed(place) if isinstance(key, str))
    assert repr(named) in caught.value.message
    assert caught.value.hint == "restore it, or delete the folder and train again"


def test_an_altered_document_is_refused_unless_its_checksum_is_removed() -> None:
    text = to_json(finished_document()).replace('"logit_scale": 2.0', '"logit_scale": 3.0')
    with pytest.raises(CapivaraError, match="its 'checksum' is not that of its content") as caught:
        from_json(text.encode(), "run.json")
    assert "if you changed it yourself, remove 'checksum' from it" in caught.value.hint
    edited = {key: value for key, value in json.loads(text).items() if key != "checksum"}
    assert from_json(json.dumps(edited).encode(), "run.json")["logit_scale"] == 3.0


def test_a_torn_last_line_of_the_metrics_counts_as_not_written() -> None:
    rest = {"terms": {}, "lr": 0.1, "logit_scale": 2.0, "tokens": 3, "padded": 3, "timing": {}}
    lines = [{"step": 1, "loss": 2.5, **rest}, {"step": 2, "loss": 1.5, **rest}]
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    assert [line["loss"] for line in metrics_from_json(whole, "metrics.jsonl")] == [2.5, 1.5]
    assert [line["step"] for line in metrics_from_json(whole[:-9], "metrics.jsonl")] == [1]
    with pytest.raises(CapivaraError, match=r"metrics\.jsonl: line 1: damaged"):
        metrics_from_json(b"{\n" + whole, "metrics.jsonl")
