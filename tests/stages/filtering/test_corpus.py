"""filter: shares of a whole corpus and boilerplate, exactly, in two passes that compute nothing twice."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support.made import a_sample, jpeg

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.embedding import TowerIdentity
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.filter import CORPUS, Options
from capivara_cli.stages.filter import filter as filter_stage
from capivara_cli.stages.filtering.corpus import CorpusRules, decide, repeated_texts
from capivara_cli.stages.filtering.sample_facts import SampleFacts, Scoring, with_of_score
from capivara_cli.stages.filtering.survey import MISSING, pack, unpack
from capivara_cli.stages.filtering.text_rules import boilerplate_key


def a_scored(key: str, *scores: float | None, lang: str = "en", text: str = "caption") -> Sample:
    captions = [Caption(f"{text} {key} {place}", lang, "alt", score=score) for place, score in enumerate(scores)]
    return a_sample(key, *captions, image=b"never decoded")


def through_npz(arrays: Arrays) -> Arrays:
    """As the engine keeps them: in a file, without pickles."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def run(shards: Sequence[Sequence[Sample]], **options: Any) -> tuple[list[list[Sample]], Env]:
    """Survey, decide and apply over the shards, without a model: by the scores that are there."""
    chosen = Options(score=False, **options)
    env = Env(Settings(device="cpu"), "filter")
    assert CORPUS.needed(chosen)
    surveys = [through_npz(CORPUS.survey(iter(shard), chosen, env)) for shard in shards]
    assert not env.tally.notes and not env.tally.dropped
    decisions = CORPUS.decide([lambda survey=survey: survey for survey in surveys], chosen, env)  # type: ignore[misc]
    return [
        list(CORPUS.apply(iter(shard), survey, through_npz(decision), chosen, env))
        for shard, survey, decision in zip(shards, surveys, decisions, strict=True)
    ], env


def kept_scores(shards: Iterable[Sequence[Sample]]) -> list[float | None]:
    return [each.score for shard in shards for sample in shard for each in sample.captions]


def test_what_needs_the_corpus() -> None:
    wanted = [Options(top_fraction=0.3), Options(quantile=0.5), Options(rules="boilerplate"), Options(rules="all")]
    assert [CORPUS.needed(each) for each in wanted] == [True] * 4
    assert not CORPUS.needed(Options(rules="length,junk", select="threshold-diversity"))
    assert filter_stage.corpus is CORPUS
    with pytest.raises(CapivaraError, match="need all shards"):
        list(filter_stage.run(iter([]), Options(score=False, quantile=0.5), Env(Settings(), "filter")))


def test_the_best_share_of_all_shards_ties_by_order() -> None:
    shards = [
        [a_scored("a", 0.1, 0.3), a_scored("b", 0.2)],
        [a_scored("c", 0.2, 0.4), a_scored("d", 0.2), a_scored("e", 0.05)],
    ]
    out, env = run(shards, top_fraction=0.5)  # of seven: ceil(3.5) = 4: 0.4, 0.3 and the first two of 0.2
    assert [[(each.key, [caption.score for caption in each.captions]) for each in shard] for shard in out] == [
        [("a", [0.3]), ("b", [0.2])],
        [("c", [0.2, 0.4])],
    ]
    assert env.tally.dropped == {"no caption left": 2}
    assert env.tally.notes["captions not among the best 0.5 of the corpus"] == 3
    assert env.tally.notes["score from 0.20"] == 3


def test_the_quantile_keeps_all_that_equals_it() -> None:
    shards = [[a_scored("a", 0.1, 0.2, 0.2)], [a_scored("b", 0.2, 0.3)]]
    assert kept_scores(run(shards, quantile=0.4)[0]) == [0.2, 0.2, 0.2, 0.3]  # the second of five is 0.2
    out, env = run(shards, quantile=0.9)
    assert kept_scores(out) == [0.3]
    assert env.tally.notes["captions below the 0.9 quantile of the corpus"] == 4
    assert kept_scores(run(shards, quantile=0.2)[0]) == [0.1, 0.2, 0.2, 0.2, 0.3]


@pytest.mark.parametrize("level", ["caption", "image"])
def test_exactly_the_share_is_kept_whatever_the_scores(level: str) -> None:
    chance = random.Random(level)
    for fraction in (0.3, 0.1, 0.999, 0.0001, 0.0):
        shards = [
            [
                a_scored(
                    f"{shard}-{number}", *(round(chance.gauss(0.2, 0.003), 4) for _ in range(chance.randint(1, 4)))
                )
                for number in range(chance.randint(0, 40))
            ]
            for shard in range(4)
        ]
        flat = [each for shard in shards for each in shard]
        if level == "caption":
            values = [each.score or 0 for sample in flat for each in sample.captions]
        else:
            values = [max(each.score or 0 for each in sample.captions) for sample in flat]
        count = math.ceil(Fraction(str(fraction)) * len(values))
        best = sorted(range(len(values)), key=lambda place: (-values[place], place))[:count]
        out, _ = run(shards, top_fraction=fraction, level=level)
        if level == "caption":
            assert kept_scores(out) == [values[place] for place in sorted(best)]
        else:
            assert [each.key for shard in out for each in shard] == [flat[place].key for place in sorted(best)]


def test_images_by_their_first_or_mean_caption() -> None:
    shards = [[a_scored("a", 0.1, 0.5), a_scored("b", 0.3, 0.3)], [a_scored("c", 0.2, 0.3), a_scored("d")]]
    for on, expected in {"best": "a", "first": "b"}.items():
        out, env = run(shards, top_fraction=0.3, level="image", on=on)
        assert [each.key for shard in out for each in shard] == [expected, "d"]
        assert env.tally.dropped == {"not among the best 0.3 of the corpus": 2}
    out, _ = run(shards, top_fraction=0.34, level="image", on="mean")  # 0.3, 0.3, 0.25: ceil(1.02) = 2
    assert [each.key for shard in out for each in shard] == ["a", "b", "d"]


def test_within_each_language_or_over_all() -> None:
    shards = [
        [a_scored("a", 0.1, 0.2, lang="pt")],
        [a_scored("b", 0.3, 0.4, lang="en"), a_scored("c", 0.5, lang="por")],
    ]
    assert kept_scores(run(shards, top_fraction=0.5)[0]) == [0.2, 0.4, 0.5]
    assert kept_scores(run(shards, top_fraction=0.5, per_lang=False)[0]) == [0.3, 0.4, 0.5]
    assert kept_scores(run(shards, top_fraction=0.5, lang="pt")[0]) == [0.2, 0.3, 0.4, 0.5]


def test_shares_are_of_what_the_rules_leave_and_the_method_comes_after() -> None:
    junk = a_sample("j", Caption("see www.example.org", "en", "alt", score=0.9), image=b"-")
    shards = [[junk, a_scored("a", 0.1, 0.4)], [a_scored("b", 0.2, 0.3)]]
    out, env = run(shards, top_fraction=0.5, rules="junk", min_score=0.35)
    assert kept_scores(out) == [0.4]  # of four, the junk not counted, 0.4 and 0.3 are the half; 0.3 is below
    assert env.tally.notes["captions that are junk: url"] == 1
    assert env.tally.notes["captions below 0.35"] == 1


def test_boilerplate_is_what_is_said_of_many_images() -> None:
    def said(key: str, *texts: str, lang: str = "en") -> Sample:
        return a_sample(key, *(Caption(text, lang, "alt", score=0.2) for text in texts), image=b"-")

    shards = [
        [said("a", "a photo of people", "two dogs"), said("b", "A photo of  people")],
        [said("c", "a photo of people", "waves"), said("d", "two dogs", "two dogs", "two dogs"), said("e", "waves")],
    ]
    out, env = run(shards, rules="boilerplate", max_images=2)
    assert [[(each.key, [caption.text for caption in each.captions]) for each in shard] for shard in out] == [
        [("a", ["two dogs"])],
        [("c", ["waves"]), ("d", ["two dogs"] * 3), ("e", ["waves"])],  # said three times of one image is said of one
    ]
    assert env.tally.notes["captions used for more than 2 images"] == 3
    assert env.tally.dropped == {"no caption left": 1}
    again, _ = run(out, rules="boilerplate", max_images=2)
    assert [[each.members for each in shard] for shard in again] == [[each.members for each in shard] for shard in out]
    other, _ = run(shards, rules="boilerplate", max_images=2, lang="pt")
    assert other == shards


@pytest.mark.parametrize("at_once", [1, 3, 7, 1000])
def test_repeated_texts_are_the_same_in_any_number_of_parts(at_once: int) -> None:
    surveys = [
        {
            "texts": np.array([boilerplate_key(f"text {number % every}") for number in range(12)], np.uint64),
            "repeated": np.array([number >= 10 for number in range(12)]),
            "lang": np.zeros(12, np.uint16), "langs": np.array(["en"]),
        }
        for every in (4, 5)
    ]  # fmt: skip
    found = repeated_texts([lambda each=each: each for each in surveys], CorpusRules(max_images=4), at_once)  # type: ignore[misc]
    # of ten each: 0 and 1 three times and twice, 2 and 3 twice and twice, 4 twice
    assert found.tolist() == sorted(boilerplate_key(f"text {number}") for number in (0, 1))


def test_a_survey_brings_back_what_was_found_out() -> None:
    translation = Caption("um cão", "pt", "x", of="a dog", score=0.25, more=(("of_lang", '"en"'),))
    translated = with_of_score(translation, 0.31)
    vector = np.arange(4, dtype=np.float16)
    samples = [
        a_sample("é", Caption("a dog", "en", "alt", score=0.3), translated, Caption("x", "hi", "alt"), image=b"-"),
        a_sample("size", Caption("a cat", "en", "alt"), image=b"-"),
        a_sample("bad", image=b"-"),
        a_sample("none", image=b"-"),
    ]
    scoring = Scoring(frozenset({"en", "pt"}), by="original")
    identity = TowerIdentity("m", "w", "p")
    examined = [
        SampleFacts(samples[0].captions, vector, identity).set_scores(scoring),
        SampleFacts(samples[1].captions, vector, dropped="image side below 9 pixels", removed={0: "in another script"}),
        SampleFacts([], dropped="image cannot be decoded: truncated", failed=True),
        SampleFacts([], vector + 1, identity),
    ]
    survey = through_npz(pack(zip(samples, examined, strict=True)))
    assert survey["scores"].tolist() == [3000, 2500, MISSING, MISSING]
    assert survey["judged"].tolist() == [3000, 3100, MISSING, MISSING]
    assert (survey["vectors"].shape, survey["vectors"].dtype) == ((2, 4), np.float16)
    (decision,) = decide([lambda: survey], CorpusRules(quantile=0.1))
    back = list(unpack(samples, survey, decision, scoring))
    assert [each.key for each, _ in back] == ["é", "size", "bad", "none"]
    assert back[0][1].captions == examined[0].captions
    assert back[0][1].scores == {0: 0.3, 1: 0.31}
    assert (back[0][1].vector.tolist(), back[0][1].tower) == ([0, 1, 2, 3], identity)
    assert (back[1][1].dropped, back[1][1].removed) == ("image side below 9 pixels", {0: "in another script"})
    assert (back[2][1].dropped, back[2][1].failed) == ("image cannot be decoded: truncated", True)
    assert back[3][1].vector.tolist() == [1, 2, 3, 4]


def test_other_samples_than_those_surveyed_are_refused() -> None:
    shard = [a_scored("a", 0.1), a_scored("b", 0.2)]
    survey = pack((each, SampleFacts(each.captions).set_scores(Scoring())) for each in shard)
    (decision,) = decide([lambda: survey], CorpusRules(quantile=0.1))
    for other, where in (
        ([shard[1], shard[0]], "at sample 'b'"),
        (shard[:1], "at the end"),
        ([*shard, a_scored("c", 0.1)], "at sample 'c'"),
        ([shard[0], a_scored("b", 0.2, 0.3)], "at sample 'b'"),
        ([shard[0], Sample("b", {"json": b"{"})], "at sample 'b'"),
    ):
        with pytest.raises(CapivaraError, match="changed between the two passes") as raised:
            list(unpack(other, survey, decision, Scoring()))
        assert where in raised.value.message


def test_what_cannot_be_used_fails_in_the_second_pass_alone() -> None:
    shards = [[a_scored("a", 0.1), Sample("bad", {"jpg": jpeg(), "json": b"{"}), a_scored("b", 0.3)], []]
    out, env = run(shards, top_fraction=0.5)
    assert [[each.key for each in shard] for shard in out] == [["b"], []]
    assert env.tally.failed == 1
    assert env.tally.dropped == {"json cannot be parsed": 1, "no caption left": 1}


def test_captions_without_a_score_are_not_part_of_any_share() -> None:
    out, env = run([[a_scored("a", 0.1, None, 0.3)]], top_fraction=0.5)
    assert kept_scores(out) == [None, 0.3]
    assert env.tally.notes["captions without a score, which stay"] == 1


def test_a_tenth_of_ten_is_one() -> None:
    shards = [[a_scored(str(number), round(0.1 + number / 100, 4)) for number in range(10)]]
    assert kept_scores(run(shards, top_fraction=0.1)[0]) == [0.19]  # 0.1 in binary is more than a tenth


def test_rules_and_counts_are_about_the_languages_asked_for() -> None:
    def said(key: str, lang: str) -> Sample:
        return a_sample(key, Caption("foto www.example.org", lang, "alt", score=0.2), image=b"-")

    shards = [[said("a", "pt"), said("b", "en")], [said("c", "en"), said("d", "en")]]
    out, env = run(shards, rules="boilerplate", max_images=1, lang="pt")
    assert (out, env.tally.dropped) == (shards, {})  # of one image in Portuguese, whatever English says
    out, env = run(shards, rules="boilerplate,junk", max_images=1, lang="pt")
    assert [[each.key for each in shard] for shard in out] == [["b"], ["c", "d"]]
    assert env.tally.notes["captions that are junk: url"] == 1
