"""Examples of retrieval: which queries are chosen, what they show, and how they are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made import jpeg

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import examples
from capivara_cli.evaluation.retrieval import retrieval
from capivara_cli.shards.sample import Sample

COLORS = [(220, 40, 40), (40, 180, 60), (50, 80, 220), (240, 220, 60), (10, 10, 10), (250, 250, 250)]


def circle(count: int, turn: float = 0.0) -> Any:
    """Unit vectors on a circle, evenly apart: the nearest of each is known."""
    angles = 2 * np.pi * (np.arange(count) + turn) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def a_choice(lang: str = "pt", **changes: Any) -> dict[str, Any]:
    """Eight images and their captions; the baseline is four places off, the adapted model right but for two texts."""
    right = circle(8)
    adapted = right.copy()
    adapted[[6, 7]] = right[[2, 3]]
    start = circle(8, 4)
    start[7] = right[7]
    asked: dict[str, Any] = {
        "set": "toy",
        "split": "test",
        "lang": lang,
        "captions": [f"texto {row}" for row in range(8)],
        "owners": list(range(8)),
        "keys": [f"k{row}" for row in range(8)],
    }
    asked |= {name: changes.pop(name) for name in list(changes) if name in asked}
    models = {name: answers(right, texts, asked["owners"]) for name, texts in (("base", start), ("runs/pt", adapted))}
    return examples.pick(examples.QueryPool(**asked), models, **{"found": 2, **changes})


def answers(images: Any, texts: Any, owners: Any) -> examples.Answers:
    found = retrieval(images, texts, owners)
    return examples.Answers(images, texts, found.text_ranks, found.image_ranks)


def test_verdicts_are_counted_over_all_queries_and_drawn_in_turn() -> None:
    entry = a_choice(count=3)
    assert entry["counts"]["text_to_image"] == {"gained": 6, "lost": 1, "kept": 0, "missed": 1}
    assert [query["verdict"] for query in entry["text_to_image"]] == ["gained", "lost", "missed"]
    assert [query["key"] for query in entry["text_to_image"][1:]] == ["k7", "k6"]


def test_a_query_shows_its_rank_and_the_best_of_every_model() -> None:
    lost = a_choice()["text_to_image"][-2]
    assert lost == {
        "text": "texto 7",
        "key": "k7",
        "rank": {"base": 1.0, "runs/pt": 8.0},
        "found": {
            "base": [{"key": "k7", "score": 1.0}, {"key": "k0", "score": 0.7071}],
            "runs/pt": [{"key": "k3", "score": 1.0}, {"key": "k2", "score": 0.7071}],
        },
        "verdict": "lost",
    }


def test_an_image_shows_its_own_captions_and_which_found_texts_are_right() -> None:
    entry = a_choice(owners=[0, 0, 2, 3, 4, 5, 6, 7])
    shown = {query["key"]: query for query in entry["image_to_text"]}
    assert "k1" not in shown  # it has no caption: nothing can be right
    assert shown["k0"]["captions"] == ["texto 0", "texto 1"]
    assert shown["k0"]["found"]["runs/pt"] == [
        {"text": "texto 0", "score": 1.0, "right": True},
        {"text": "texto 1", "score": 0.7071, "right": True},
    ]
    assert shown["k0"]["rank"]["runs/pt"] == 1.0
    assert [hit["right"] for hit in shown["k4"]["found"]["base"]] == [False, False]


def test_the_same_seed_chooses_the_same_and_no_text_twice() -> None:
    assert a_choice(count=4) == a_choice(count=4)
    entry = a_choice(captions=["igual"] * 8)
    assert len(entry["text_to_image"]) == 1 and len(entry["image_to_text"]) == 8


def photos(*broken: str) -> Iterator[Sample]:
    for row in range(8):
        key = f"k{row}"
        yield Sample(key, {"jpg": b"no image" if key in broken else jpeg(COLORS[row % 6], (448, 300 + row))})


def test_thumbnails_are_kept_small_and_without_broken_images(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "examples"
    examples.save(folder, [a_choice()], lambda: photos("k3"))
    files = examples.load(folder)["sets"][0]["images"]
    assert sorted(files) == ["k0", "k1", "k2", "k4", "k5", "k6", "k7"]
    assert Image.open(folder / files["k0"]).size == (224, 150)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files.values(), "examples.json"])


def test_other_languages_and_sets_stay_the_same_one_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    examples.save(folder, [a_choice("en"), a_choice("pt")], photos)
    before = examples.load(folder)["sets"][0]
    examples.save(folder, [a_choice("pt", count=1), a_choice("pt", set="other")], lambda: photos("k0"))
    sets = examples.load(folder)["sets"]
    assert [(each["set"], each["lang"]) for each in sets] == [("toy", "en"), ("toy", "pt"), ("other", "pt")]
    assert sets[0] == before and len(sets[1]["text_to_image"]) == 1
    assert all((folder / name).is_file() for each in sets for name in each["images"].values())
    assert "k0" in sets[0]["images"] and "k0" not in sets[2]["images"]  # a key is an image of its own set


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    examples.save(folder, [a_choice()], photos)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def failing() -> Iterator[Sample]:
        raise CapivaraError("gone")
        yield

    with pytest.raises(CapivaraError, match="gone"):
        examples.save(folder, [a_choice(count=1)], failing)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["examples"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda entry: entry.pop("lang"), "'lang'"),
        (lambda entry: entry["text_to_image"][0].update(verdict="won"), "verdict 'won'"),
        (lambda entry: entry["text_to_image"][0]["rank"].clear(), "'base'"),
        (lambda entry: entry["images"].update(k0="../../secret.jpg"), "'../../secret.jpg' is not a file name"),
    ],
)
def test_damaged_examples_are_named(tmp_path: Path, change: Any, reason: str) -> None:
    folder = tmp_path / "examples"
    examples.save(folder, [a_choice()], photos)
    document = examples.load(folder)
    change(document["sets"][0])
    (folder / "examples.json").write_text(json.dumps(document))
    with pytest.raises(CapivaraError, match=r"examples\.json: damaged: ") as caught:
        examples.load(folder)
    assert reason in caught.value.message


def test_a_folder_without_examples_has_none(tmp_path: Path) -> None:
    assert examples.load(tmp_path) == {"sets": []}
