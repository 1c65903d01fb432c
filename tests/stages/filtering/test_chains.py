"""filter judges a caption by the nearest text of its chain that is in the language of the original."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import variants
from support.made import a_sample, jpeg
from support.tiny import tiny_clip

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.filter import Options
from capivara_cli.stages.filter import filter as filter_stage
from capivara_cli.stages.filtering.chains import judge_of, with_judges

DOG, BALL = Caption("a red dog", "en", "alt"), Caption("the blue ball on a house", "en", "alt")
DOG_PT = Caption("um cachorro vermelho", "pt", "x:en-pt", of=DOG.text)
BALL_PT = Caption("uma bola", "pt", "x:en-pt", of=BALL.text)
REWRITE = Caption("a dog that is red", "en", "rewrite:x", of=DOG.text)
REWRITE_PT = Caption("um cachorro que é vermelho", "pt", "x:en-pt", of=REWRITE.text)
REWRITE_GL = Caption("un can que é vermello", "gl", "x:pt-gl", of=REWRITE_PT.text)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    import torch

    torch.set_num_threads(1)
    return load_clip(f"local-dir:{tiny_clip(tmp_path_factory.mktemp('clip'))}")


def run(clip: Clip | None, captions: Sequence[Caption], **options: object) -> list[Caption]:
    """The captions that stay of one sample."""
    env = Env(Settings(device="cpu"), "filter", {("clip", "tiny", "", "cpu"): clip})
    sample = a_sample("k", *captions, image=jpeg((200, 30, 30)))
    asked = Options(model="tiny", score=clip is not None, **options)  # type: ignore[arg-type]
    return [each for out in filter_stage.run(iter([sample]), asked, env) for each in out.captions]


def by_text(captions: Sequence[Caption]) -> dict[str, Caption]:
    return {each.text: each for each in captions}


def more(caption: Caption) -> dict[str, str]:
    return dict(caption.more)


def test_a_translation_is_judged_by_its_source_by_default(clip: Clip) -> None:
    scored = by_text(run(clip, [DOG, BALL, DOG_PT, BALL_PT]))
    better = max((DOG, BALL), key=lambda source: scored[source.text].score or 0)
    for translation, source in ((DOG_PT, DOG), (BALL_PT, BALL)):
        assert more(scored[translation.text]) == {"of_lang": '"en"', "of_score": repr(scored[source.text].score)}
        assert scored[translation.text].score not in (None, scored[source.text].score)  # the score of the text itself
    (left,) = (each for each in run(clip, [DOG, BALL, DOG_PT, BALL_PT], top_k=1) if each.lang == "pt")
    assert left.of == better.text
    for options in ({"lang": "pt"}, {"per_lang": False, "lang": "pt"}):
        only = [each for each in run(clip, [DOG, BALL, DOG_PT, BALL_PT], top_k=1, **options) if each.lang == "pt"]
        assert [each.of for each in only] == [better.text]


def test_score_by_text_judges_the_translation_itself(clip: Clip) -> None:
    scored = by_text(run(clip, [DOG, BALL, DOG_PT, BALL_PT], score_by="text"))
    assert all(not each.more for each in scored.values())
    better = max((DOG_PT, BALL_PT), key=lambda each: scored[each.text].score or 0)
    left = run(clip, [DOG, BALL, DOG_PT, BALL_PT], score_by="text", top_k=1)
    assert [each.text for each in left if each.lang == "pt"] == [better.text]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("score_by", ["original", "best"])
def test_the_nearest_text_in_the_language_of_the_original_judges(clip: Clip, order: int, score_by: str) -> None:
    """An English rewrite of an English caption is judged by itself, and what comes from it by the rewrite."""
    chain = [DOG, REWRITE, REWRITE_PT, REWRITE_GL][::order]
    scored = by_text(run(clip, chain, score_by=score_by))
    rewrite = repr(scored[REWRITE.text].score)
    assert rewrite != repr(scored[DOG.text].score)
    assert more(scored[REWRITE.text]) == {"of_lang": '"en"'}
    assert more(scored[REWRITE_PT.text]) == {"of_lang": '"en"', "of_score": rewrite}
    assert more(scored[REWRITE_GL.text]) == {"of_lang": '"en"', "of_nearest": f'"{REWRITE.text}"', "of_score": rewrite}


def test_a_rewrite_of_a_translation_is_judged_by_the_source_of_that(clip: Clip) -> None:
    rewritten = Caption("um cão em vermelho", "pt-BR", "rewrite:x", of=DOG_PT.text)
    scored = by_text(run(clip, [DOG, DOG_PT, rewritten]))
    first = repr(scored[DOG.text].score)
    assert more(scored[rewritten.text]) == {"of_lang": '"en"', "of_nearest": '"a red dog"', "of_score": first}


def test_a_back_translation_is_judged_by_itself_and_so_is_what_comes_from_it(clip: Clip) -> None:
    back = Caption("a dog in red", "en", "x:pt-en", of=DOG_PT.text)
    again = Caption("un perro de rojo", "es", "x:en-es", of=back.text)
    scored = by_text(run(clip, [again, back, DOG_PT, DOG]))
    assert more(scored[back.text]) == {"of_lang": '"en"'}
    assert more(scored[again.text]) == {"of_lang": '"en"', "of_score": repr(scored[back.text].score)}


def test_the_language_of_the_original_need_not_be_english(clip: Clip) -> None:
    native = Caption("um cachorro vermelho", "por_Latn", "alt")
    rewritten = Caption("um cão em vermelho", "pt-BR", "x", of=native.text)
    english = Caption("a red dog", "en", "x:pt-en", of=rewritten.text)
    scored = by_text(run(clip, [native, rewritten, english]))
    assert more(scored[rewritten.text]) == {"of_lang": '"pt"'}
    assert more(scored[english.text]) == {"of_lang": '"pt"', "of_score": repr(scored[rewritten.text].score)}


def test_a_good_rewrite_of_a_bad_caption_stays_and_a_bad_one_of_a_good_caption_goes() -> None:
    bad, better = replace(BALL, score=0.1), Caption("a blue ball", "en", "rewrite:x", of=BALL.text, score=0.3)
    good, worse = replace(DOG, score=0.3), replace(REWRITE, score=0.1)
    translations = [Caption("uma bola azul", "pt", "x", of=better.text, score=0.05), replace(REWRITE_PT, score=0.05)]
    left = run(None, [bad, better, good, worse, *translations], min_score=0.2)
    assert [each.text for each in left] == [better.text, good.text, "uma bola azul"]


def test_a_rewrite_whose_source_is_gone_is_judged_by_itself(clip: Clip) -> None:
    named = run(clip, [REWRITE])[0]
    assert more(named) == {"of_lang": '"en"'}
    other = run(clip, [DOG, replace(REWRITE, by="gpt")])[1]  # a name that does not say that it rewrites
    assert more(other) == {"of_lang": '"en"'}
    assert run(clip, [other]) == [other]


def test_a_score_that_no_longer_judges_goes() -> None:
    old = replace(REWRITE, score=0.1, more=(("of_score", "0.3"), ("mine", "1")))
    (left,) = run(None, [old], min_score=0.05)
    assert more(left) == {"mine": "1", "of_lang": '"en"'}
    assert run(None, [replace(DOG, score=0.3), old], min_score=0.2) == [replace(DOG, score=0.3)]


def test_a_source_that_is_not_among_the_captions_is_scored_all_the_same(clip: Clip) -> None:
    whole, (alone,) = by_text(run(clip, [DOG, DOG_PT])), run(clip, [DOG_PT])
    assert more(alone) == {"of_score": repr(whole[DOG.text].score)}
    assert run(clip, [whole[DOG_PT.text]]) == [whole[DOG_PT.text]]


def test_a_chain_whose_middle_is_gone_ends_at_the_text_that_it_names(clip: Clip) -> None:
    scored = by_text(run(clip, [DOG, REWRITE, REWRITE_GL]))
    assert more(scored[REWRITE_GL.text]).keys() == {"of_score"}  # the language of the first text is not known
    text_alone = run(clip, [Caption(REWRITE_PT.text, "pt", "alt")])[0]
    assert more(scored[REWRITE_GL.text])["of_score"] == repr(text_alone.score)


def test_a_chain_that_filter_has_seen_is_known_when_its_middle_is_gone(clip: Clip) -> None:
    scored = run(clip, [DOG, REWRITE, REWRITE_PT, REWRITE_GL])
    last = scored[-1]
    for rest in ([last], [scored[0], last], [scored[2], last]):
        assert run(clip, rest)[-1] == last
    made_of_it = Caption("un perro rojo", "es", "x:gl-es", of=REWRITE_GL.text)
    assert more(run(clip, [last, made_of_it])[1]) == more(last)


def test_equal_texts_lead_to_the_one_that_is_original(clip: Clip) -> None:
    """The name stays as it is in the translation, so the source of both is also a translation of itself."""
    name = Caption("BMW X5", "en", "alt")
    copy = Caption("BMW X5", "pt", "x:en-pt", of="BMW X5")
    on = Caption("un BMW X5", "es", "x:pt-es", of="BMW X5")
    for captions in ([copy, name, on], [name, copy, on], [copy, on]):
        judges = [judge_of(each) for each in with_judges(captions, lambda _: True) if each.of]
        assert {judge and judge[0] for judge in judges} == {"BMW X5"}
    scored = run(clip, [copy, name, on])
    assert {more(each)["of_score"] for each in scored if each.of} == {repr(scored[1].score)}


def test_a_circle_ends() -> None:
    one, other = Caption("a", "en", "x", of="b"), Caption("b", "pt", "x", of="a")
    for captions in ([one, other], [other, one]):
        once = with_judges(captions, lambda _: True)
        assert with_judges(once, lambda _: True) == once


def test_a_long_chain_is_followed() -> None:
    chain = [DOG] + [Caption(f"cão {n}", "pt", "x", of=f"cão {n - 1}" if n else DOG.text) for n in range(1500)]
    last = with_judges(chain, lambda each: each is chain[-1])[-1]
    assert judge_of(last) == (DOG.text, "en")


def test_stored_scores_of_sources_decide_without_a_model() -> None:
    captions = [
        replace(DOG, score=0.3), replace(BALL, score=0.1),
        replace(DOG_PT, score=0.11), replace(BALL_PT, score=0.12),
        replace(REWRITE, score=0.2), replace(REWRITE_GL, of=REWRITE.text, score=0.05),
    ]  # fmt: skip
    left = by_text(run(None, captions, min_score=0.2))
    assert list(left) == [DOG.text, DOG_PT.text, REWRITE.text, REWRITE_GL.text]
    assert more(left[REWRITE_GL.text]) == {"of_lang": '"en"', "of_score": "0.2"}
    assert list(by_text(run(None, captions, min_score=0.12, score_by="text"))) == [DOG.text, BALL_PT.text, REWRITE.text]
    assert run(None, list(left.values())[1:], min_score=0.2) == list(left.values())[1:]  # the source is gone


def test_without_a_known_score_of_the_source_its_own_decides() -> None:
    captions = [DOG, replace(DOG_PT, score=0.11), replace(BALL_PT, score=0.3)]
    assert run(None, captions, min_score=0.2) == [DOG, captions[2]]


def test_captions_in_other_languages_stay_as_they_are(clip: Clip) -> None:
    captions = [DOG, REWRITE, REWRITE_PT, REWRITE_GL]
    assert run(clip, captions, lang="pt")[3] == REWRITE_GL
    assert more(run(clip, captions, lang="gl")[3]).keys() == {"of_lang", "of_nearest", "of_score"}


def test_texts_of_one_source_are_ordered_by_their_own_scores() -> None:
    texts = [replace(DOG_PT, text=f"texto {score}", score=score / 10) for score in (1, 3, 2)]
    left = run(None, [replace(DOG, score=0.3), *texts], top_k=1)
    assert [each.text for each in left] == [DOG.text, "texto 3"]


links = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["en", "pt", "gl"]), st.one_of(st.none(), st.integers(0, 5))),
    max_size=7,
)


@settings(max_examples=variants.number(66, 200), deadline=None)
@given(links, st.sets(st.integers(0, 6)))
def test_judges_are_the_same_again_and_after_captions_are_gone(
    chosen: list[tuple[int, str, int | None]], gone: set[int]
) -> None:
    captions = [
        Caption(f"t{text}", lang, "x", of=None if source is None else f"t{source}") for text, lang, source in chosen
    ]
    once = with_judges(captions, lambda _: True)
    assert with_judges(once, lambda _: True) == once
    by_name = {each.text: each for each in captions}
    if len(by_name) < len(captions):
        return
    for each, marked in zip(captions, once, strict=True):  # every text once: follow the chain by hand
        chain = [each]
        while chain[-1].of in by_name and len(chain) < 9:
            chain.append(by_name[chain[-1].of])
        if chain[-1].of is None:
            nearest = next(link for link in chain if link.lang == chain[-1].lang)
            expected = None if nearest is each else (nearest.text, nearest.lang)
            assert judge_of(marked) == expected
            left = [other for index, other in enumerate(once) if index not in gone and other is not marked]
            assert judge_of(with_judges([marked, *left], lambda _: True)[0]) == expected


def test_over_shards_the_same_is_judged_as_in_one(shards: Callable[..., Path], tmp_path: Path) -> None:
    """A survey of all shards decides by the same scores, and what is stored is the same."""
    chance = random.Random(0)
    samples = []
    for number in range(6):
        score = chance.randrange(100) / 100
        captions = [DOG, replace(REWRITE, score=score), replace(REWRITE_PT, score=0.5), replace(REWRITE_GL, score=0.4)]
        samples.append(a_sample(f"{number}", *captions, image=jpeg()))
    results = []
    for options in ("--min-score -0.9", "--quantile 0.001", "--lang gl --top-fraction 0.5"):
        plan = f"filter --no-score {options}"
        source, out = shards(samples[:2], samples[2:], name=f"in{len(results)}"), tmp_path / f"out{len(results)}"
        engine.run(parse_plan(plan), [str(source)], Settings(out=str(out), quiet=True, energy=False), None)
        results.append([sample for path in sorted(out.glob("*.tar")) for sample in opened(path)])
    assert results[0] == results[1]
    kept = [sample.key for sample in results[2] if any(each.lang == "gl" for each in sample.captions)]
    best = sorted(samples, key=lambda sample: -(sample.captions[1].score or 0))[:3]
    assert kept == sorted(sample.key for sample in best)


def opened(path: Path) -> list[Sample]:
    with open_shard(str(path)) as samples:
        return list(samples)
