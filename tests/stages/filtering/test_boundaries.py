"""Where a rule of filter begins to hold: exactly at its limit, and one step beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from capivara_cli.languages import identify
from capivara_cli.shards.sample import Caption
from capivara_cli.stages.filtering.chains import with_judges
from capivara_cli.stages.filtering.corpus import CorpusRules, _Cutoff, repeated_texts
from capivara_cli.stages.filtering.image_rules import ImageRules, entropy
from capivara_cli.stages.filtering.sample_facts import SampleFacts, of_score
from capivara_cli.stages.filtering.selection import CaptionRules, select
from capivara_cli.stages.filtering.text_rules import TextRules, columns


def length(text: str, **limits: int) -> str:
    rules: dict[str, Any] = {"min_words": 0, "max_words": 0, "min_chars": 0, "max_chars": 0, **limits}
    return TextRules(("length",), **rules).objection(text, "en")


@pytest.mark.parametrize("text", ["a red dog", "ａ red dog", "um cão cá"])
def test_words_and_characters_equal_to_a_limit_stay(text: str) -> None:
    wide = columns(text)
    assert length(text, min_words=3, max_words=3, min_chars=wide, max_chars=wide) == ""
    assert length(text, min_words=4) == "shorter than 4 words"
    assert length(text, max_words=2) == "longer than 2 words"
    assert length(text, min_chars=wide + 1) == f"shorter than {wide + 1} characters"
    assert length(text, max_chars=wide - 1) == f"longer than {wide - 1} characters"


@pytest.mark.parametrize(("text", "wide"), [("ＤＯＧ", 6), ("dog", 3), ("１２", 4), ("ﾈｺ", 2), ("猫", 2), ("！a", 3)])
def test_full_width_letters_count_twice(text: str, wide: int) -> None:
    assert columns(text) == wide


@pytest.mark.parametrize(("share", "ruled_out"), [(0.8, 0.0), (0.9, 0.0), (0.9999, 0.0), (0.9999, 0.5)])
def test_a_language_is_another_if_it_is_sure(share: float, ruled_out: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from capivara_cli.stages.filtering import text_rules

    monkeypatch.setattr(text_rules, "_NOT_SURE", 0.9)
    monkeypatch.setattr(identify, "likeliest", lambda text: ("de", share))
    monkeypatch.setattr(identify, "probabilities", lambda text: {"en": ruled_out})
    text = f"a text {share} {ruled_out}"
    expected = "in another language" if share >= 0.9 and not ruled_out else ""
    assert TextRules(("language",)).objection(text, "en") == expected


def test_images_at_a_limit_stay() -> None:
    rules = ImageRules(min_side=100, max_aspect=2.5)
    assert rules.size_objection(250, 100) == rules.size_objection(100, 250) == ""
    assert rules.size_objection(99, 100) == "image side below 100 pixels"
    assert rules.size_objection(251, 100) == "image more than 2.5 times as long as wide"
    halves = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 8, axis=1))
    assert entropy(halves) == 1.0
    assert ImageRules(min_entropy=1.0).pixel_objection(halves) == ""
    assert ImageRules(min_entropy=1.01).pixel_objection(halves) == "image entropy below 1.01 bits"


def facts(*scores: float) -> SampleFacts:
    captions = [Caption(f"caption {number}", "en", "alt", score=score) for number, score in enumerate(scores)]
    return SampleFacts(captions, scores=dict(enumerate(scores)))


def test_scores_equal_to_a_floor_stay() -> None:
    assert select(facts(0.15, 0.1499), CaptionRules(floor=0.15)).removed == {1: "below 0.15"}
    for on in ("best", "first", "mean"):
        rules = CaptionRules(floor=0.25, of_images=True, on=on)  # type: ignore[arg-type]
        assert select(facts(0.25, 0.25), rules).dropped == ""
        assert select(facts(0.2499, 0.2499), rules).dropped


def test_among_captions_of_equal_judges_the_best_of_their_own_stays() -> None:
    equal = SampleFacts(
        [Caption("a", "pt", "x", "s", 0.1), Caption("b", "pt", "x", "s", 0.3), Caption("c", "pt", "x", "s", 0.2)],
        scores={0: 0.5, 1: 0.5, 2: 0.5},
    )
    assert set(select(equal, CaptionRules(k=1)).removed) == {0, 2}


@pytest.mark.parametrize(("share", "total", "kept"), [(0.07, 100, 7), (0.14, 50, 7), (0.29, 100, 29), (0.1, 10, 1)])
def test_a_share_has_no_rounding_slack(share: float, total: int, kept: int) -> None:
    """0.07 * 100 is 7.000000000000001 in binary."""
    counts = np.zeros(20201, np.int64)
    counts[10_000 : 10_000 + total] = 1
    cutoff = _Cutoff.of(counts, CorpusRules(top=share))
    scores = np.arange(total) + 10_000 - 10_100
    target = np.zeros(total, np.uint8)
    cutoff.mark(scores, target)
    assert int((target == 0).sum()) == kept
    below = _Cutoff.of(counts, CorpusRules(quantile=share))
    assert below.quantile == int(scores[kept - 1])
    target[:] = 0
    below.mark(scores, target)
    assert int((target == 0).sum()) == total - kept + 1, "a score equal to the quantile stays"


def test_a_text_of_exactly_so_many_images_is_no_boilerplate() -> None:
    def survey(*texts: int) -> dict[str, np.ndarray]:
        count = len(texts)
        return {
            "texts": np.array(texts, np.uint64), "repeated": np.zeros(count, bool), "lang": np.zeros(count, np.int64),
            "langs": np.array(["en"]),
        }  # fmt: skip

    surveys = [survey(1, 2), survey(1, 2), survey(2)]
    loads = [lambda each=each: each for each in surveys]  # type: ignore[misc]
    assert repeated_texts(loads, CorpusRules(max_images=2)).tolist() == [2]


def test_the_stored_score_of_a_judge_may_be_one() -> None:
    def stored(text: str) -> float | None:
        return of_score(Caption("a", "pt", "x", "b", more=(("of_score", text),)))

    assert [stored(text) for text in ("1.0", "-1.0", "1.009", "1.01", "-1.01", "NaN", "1", "null")] == [
        1.0, -1.0, 1.009, None, None, None, None, None,
    ]  # fmt: skip


def test_an_origin_over_two_hops_and_more() -> None:
    first = Caption("a dog", "en", "alt")
    second = Caption("um cão", "pt", "x:en-pt", "a dog")
    third = Caption("un perro", "es", "x:pt-es", "um cão")
    fourth = Caption("un gos", "ca", "x:es-ca", "un perro")
    for captions in ([first, second, third, fourth], [fourth, third, second, first]):
        judged = {each.lang: dict(each.more) for each in with_judges(captions, lambda caption: True)}
        assert judged["es"] == {"of_lang": '"en"', "of_nearest": '"a dog"'}
        assert judged["ca"] == {"of_lang": '"en"', "of_nearest": '"a dog"'}
        assert judged["pt"] == {"of_lang": '"en"'}


@pytest.mark.parametrize(
    ("before", "score", "after"),
    [
        (0.25, 0.25005, 0.25), (0.25, 0.2502, 0.2502), (0.25, 0.2549, 0.2549), (0.25001, 0.25002, 0.25),
        (None, 0.12344, 0.1234), (None, -0.00001, 0.0),
    ],
)  # fmt: skip
def test_a_stored_score_stays_within_the_slack_of_rounding(before: float | None, score: float, after: float) -> None:
    from capivara_cli.stages.filtering.scoring import stable_score

    found = stable_score(before, score)
    assert (found, str(found)) == (after, str(after))
