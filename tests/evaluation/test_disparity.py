"""Disparity against published numbers: M-CLIP's README, text-to-image R@10 on XTD10 in eleven languages."""

from __future__ import annotations

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.disparity import disparity
from capivara_cli.evaluation.sets import xtd

LANGUAGES = ("en", "de", "es", "fr", "zh", "it", "pl", "ko", "ru", "tr", "ja")

# github.com/FreddeFrallan/Multilingual-CLIP, README, table "Txt2Img @10-Recal" (MIT licence)
PUBLISHED = {
    "LaBSE ViT-L/14": (91.6, 89.6, 89.5, 89.9, 88.9, 90.1, 89.8, 80.8, 85.5, 89.8, 73.9),
    "XLM-R Large ViT-B/32": (91.8, 88.7, 89.1, 89.4, 89.3, 89.8, 91.4, 82.1, 86.1, 88.8, 81.0),
    "XLM-R Large ViT-L/14": (92.4, 90.6, 91.0, 90.0, 89.7, 91.1, 91.3, 85.2, 85.8, 90.3, 81.9),
    "XLM-R Large ViT-B/16+": (95.0, 93.0, 93.6, 93.1, 94.0, 93.1, 94.4, 89.0, 90.0, 93.0, 84.2),
}


def scores(model: str) -> dict[str, float]:
    return dict(zip(LANGUAGES, PUBLISHED[model], strict=True))


@pytest.mark.parametrize(
    ("model", "mean", "spread", "std"),
    [
        ("XLM-R Large ViT-L/14", 89.03, 10.5, 3.11),
        ("XLM-R Large ViT-B/16+", 92.04, 10.8, 3.01),
        ("XLM-R Large ViT-B/32", 87.95, 10.8, 3.34),
        ("LaBSE ViT-L/14", 87.22, 17.7, 5.07),
    ],
)
def test_disparity_of_the_published_scores(model: str, mean: float, spread: float, std: float) -> None:
    found = disparity(scores(model))
    assert (round(found.mean, 2), round(found.range, 1), round(found.std, 2)) == (mean, spread, std)
    assert found.worst == "ja"


def test_the_gap_to_english_of_published_scores() -> None:
    gaps = disparity(scores("XLM-R Large ViT-L/14")).gap_to_english
    assert gaps is not None
    assert {lang: round(gap, 1) for lang, gap in gaps.items()} == {
        "de": 1.8, "es": 1.4, "fr": 2.4, "zh": 2.7, "it": 1.3, "pl": 1.1, "ko": 7.2, "ru": 6.6, "tr": 2.1, "ja": 10.5,
    }  # fmt: skip


def test_the_languages_of_these_numbers_are_those_of_xtd() -> None:
    assert set(xtd.languages("")) == set(LANGUAGES)


def test_disparity_needs_languages_to_compare() -> None:
    with pytest.raises(CapivaraError, match="give at least two"):
        disparity({"en": 90.0})
    assert disparity({"pt": 80.0, "hi": 60.0}).gap_to_english is None
