"""filter: which captions of a sample stay, by the paper's methods and ours, on scores chosen by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from capivara_cli.shards.sample import Caption
from capivara_cli.stages.filter import Options
from capivara_cli.stages.filtering.sample_facts import SampleFacts, Scoring, of_score, with_of_score
from capivara_cli.stages.filtering.selection import CaptionRules, select

TEXTS = (
    "a man rides a brown horse on the beach",
    "a man rides a brown horse on a beach",
    "two dogs",
    "sunset over the sea behind them",
    "waves",
    "a photo of people",
)
WORDS = ("a", "red", "dog", "sees", "the", "big", "blue", "ball")


def facts_of(*scores: float, langs: Sequence[str] = (), texts: Sequence[str] = TEXTS, by: str = "alt") -> SampleFacts:
    captions = [
        Caption(texts[place % len(texts)], langs[place] if langs else "en", by, score=score)
        for place, score in enumerate(scores)
    ]
    return SampleFacts(captions).set_scores(Scoring())


def kept(found: SampleFacts, rule: CaptionRules) -> list[int]:
    result = select(found, rule)
    return [] if result.dropped else [place for place in range(len(found.captions)) if place not in result.removed]


def test_the_papers_constants_are_the_methods_defaults() -> None:
    assert Options().caption_rules == CaptionRules()
    assert Options(select="rank").caption_rules == CaptionRules(k=5)
    assert Options(select="threshold").caption_rules == CaptionRules(floor=0.15)
    assert Options(select="threshold", level="image").caption_rules == CaptionRules(floor=0.2, of_images=True)
    assert Options(select="threshold-diversity").caption_rules == CaptionRules(floor=0.15, k_min=3, max_alike=0.3)
    assert Options(select="rank", top_k=2, min_score=0.1).caption_rules == CaptionRules(k=2, floor=0.1)
    assert Options(select="threshold-diversity", min_score=0.2, k_min=1, max_alike=0.5).caption_rules == CaptionRules(
        floor=0.2, k_min=1, max_alike=0.5
    )
    assert not CaptionRules().can_remove and CaptionRules(floor=0.0).can_remove


def test_rank_keeps_the_best_of_each_language_or_of_all() -> None:
    found = facts_of(0.1, 0.3, 0.2, 0.25, 0.05, 0.3, langs=["en", "en", "en", "pt", "pt", "por"])
    assert kept(found, CaptionRules(k=2)) == [1, 2, 3, 5]
    assert kept(found, CaptionRules(k=2, per_lang=False)) == [1, 5]
    assert kept(found, CaptionRules(k=1, per_lang=False)) == [1]  # of equal scores the earlier
    assert select(found, CaptionRules(k=2)).removed == {0: "not among the best 2", 4: "not among the best 2"}


def test_threshold_keeps_what_equals_it() -> None:
    found = facts_of(0.1499, 0.15, 0.1501)
    assert kept(found, CaptionRules(floor=0.15)) == [1, 2]
    assert select(found, CaptionRules(floor=0.15)).removed == {0: "below 0.15"}
    assert select(facts_of(0.1), CaptionRules(floor=0.15)).dropped == "no caption left"


def test_threshold_and_diversity_thins_out_what_is_alike() -> None:
    found = facts_of(0.3, 0.31, 0.16, 0.2, 0.14)
    rule = CaptionRules(floor=0.15, k_min=2)
    result = select(found, rule)
    assert result.removed == {4: "below 0.15", 0: "that are near-duplicates"}  # of two alike the lower score goes
    assert kept(found, CaptionRules(floor=0.15, k_min=4)) == [0, 1, 2, 3]
    copies = facts_of(0.3, 0.4, 0.2, texts=["a dog", "A  DOG", "a cat"])
    assert select(copies, CaptionRules(k_min=3)).removed == {0: "that are exact duplicates"}


def test_diversity_prefers_what_a_human_wrote() -> None:
    captions = [
        Caption("a dog", "en", "blip2", score=0.4),
        Caption("a dog", "en", "alt", score=0.1),
        Caption("um cão", "pt", "argos:en-pt", of="a dog", score=0.2),
    ]
    assert select(SampleFacts(captions).set_scores(Scoring()), CaptionRules(k_min=1)).removed == {
        0: "that are exact duplicates"
    }


@pytest.mark.parametrize(("by", "expected"), [("text", 0.1), ("original", 0.3), ("best", 0.3)])
def test_a_translation_may_be_judged_by_its_source(by: str, expected: float) -> None:
    translated = with_of_score(Caption("um cão", "pt", "x", of="a dog", score=0.1), 0.3)
    assert Scoring(by=by).deciding_score(translated) == expected
    assert Scoring(by=by).deciding_score(Caption("a dog", "en", "alt", score=0.2)) == 0.2
    assert Scoring(by=by).deciding_score(Caption("a dog", "en", "alt")) is None
    worse = with_of_score(Caption("um cão", "pt", "x", of="a dog", score=0.4), 0.3)
    assert Scoring(by=by).deciding_score(worse) == {"text": 0.4, "original": 0.3, "best": 0.4}[by]


def test_a_stored_score_of_the_source_is_taken_only_when_it_is_one() -> None:
    caption = with_of_score(Caption("um cão", "pt", "x", of="a dog"), 0.3)
    assert (of_score(caption), caption.more) == (0.3, (("of_score", "0.3"),))
    assert with_of_score(caption, 0.25).more == (("of_score", "0.25"),)
    for strange in ('"0.3"', "7.5", "[1]", "null", "true"):
        assert of_score(Caption("x", "pt", "x", more=(("of_score", strange),))) is None


def test_an_image_is_judged_by_its_captions() -> None:
    found = facts_of(0.1, 0.4, 0.25)
    for on, verdict in {"best": 0.4, "first": 0.1, "mean": 0.25}.items():
        rule = {"of_images": True, "on": on}
        assert select(found, CaptionRules(floor=verdict, **rule)).dropped == ""  # type: ignore[arg-type]
        reason = "mean below 0.5" if on == "mean" else f"{on} caption below 0.5"
        assert select(found, CaptionRules(floor=0.5, **rule)).dropped == reason  # type: ignore[arg-type]
    assert select(facts_of(), CaptionRules(floor=0.0, of_images=True)).dropped == "no caption to judge it by"


def test_an_image_has_to_pass_with_the_captions_that_are_left() -> None:
    found = facts_of(0.3, 0.35, 0.1, langs=["en", "en", "pt"])
    first = CaptionRules(floor=0.3, of_images=True, on="first")
    assert select(found, first).dropped == ""
    ranked = CaptionRules(floor=0.3, of_images=True, on="mean", k=1)
    assert select(facts_of(0.3, 0.5, 0.2, langs=["en", "en", "pt"]), ranked).dropped == ""
    # the first caption is ranked out: the first that is left would be below, and a second run would drop it
    found = facts_of(0.3, 0.1, 0.35, langs=["en", "pt", "en"])
    assert select(found, CaptionRules(floor=0.3, of_images=True, on="first", k=1)).dropped == "first caption below 0.3"


def test_what_a_rule_removed_is_not_selected_again() -> None:
    found = facts_of(0.4, 0.3)
    found.removed[0] = "in another script"
    del found.scores[0]
    assert kept(found, CaptionRules(k=1)) == [1]
    found.removed[1] = "in another script"
    del found.scores[1]
    assert select(found, CaptionRules()).dropped == "no caption left"
    assert select(facts_of(), CaptionRules()).dropped == ""


@pytest.mark.parametrize("of_images", [False, True])
@pytest.mark.parametrize("on", ["best", "first", "mean"])
@pytest.mark.parametrize("per_lang", [True, False])
def test_a_second_selection_leaves_all_as_it_is(of_images: bool, on: str, per_lang: bool) -> None:
    import random

    chance = random.Random(f"{of_images}{on}{per_lang}")
    stayed = 0
    for _ in range(200):
        count = chance.randint(1, 9)
        found = facts_of(
            *(round(chance.uniform(0.05, 0.35), 4) for _ in range(count)),
            langs=[chance.choice(["en", "pt"]) for _ in range(count)],
            texts=[" ".join(chance.choices(WORDS, k=5)) for _ in range(count)],
        )
        rule = CaptionRules(
            floor=chance.choice([None, 0.1, 0.2]),
            of_images=of_images,
            on=on,  # type: ignore[arg-type]
            k=chance.choice([0, 2, 4]),
            k_min=chance.choice([None, 1, 3]),
            per_lang=per_lang,
        )
        once = kept(found, rule)
        if once:
            again = SampleFacts([found.captions[place] for place in once]).set_scores(Scoring())
            assert kept(again, rule) == list(range(len(once)))
            stayed += 1
    assert stayed > 50
