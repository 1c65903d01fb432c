"""filter: scores, selection, the stored embedding, on a tiny random CLIP of the real classes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.made import a_sample, jpeg, toy_like
from support.tiny import tiny_clip

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, check_options
from capivara_cli.shards.archive import ShardReader
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.stages.filter import Options
from capivara_cli.stages.filter import filter as filter_stage
from capivara_cli.stages.filtering.histogram import take
from capivara_cli.stages.filtering.scoring import stable_score

CAPTIONS = (
    Caption("a red dog", "en", "alt"),
    Caption("the blue ball on a house", "en", "alt"),
    Caption("green", "en", "alt"),
    Caption("um cachorro", "pt", "alt"),
    Caption("uma bola vermelho azul", "pt", "alt"),
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    import torch

    torch.set_num_threads(1)
    return load_clip(f"local-dir:{tiny_clip(tmp_path_factory.mktemp('clip'))}")


def run(clip: Clip, samples: list[Sample], **options: object) -> tuple[list[Sample], Env]:
    model = str(options.pop("model", "tiny"))
    env = Env(Settings(device="cpu"), "filter", {("clip", model, "", "cpu"): clip})
    return list(filter_stage.run(iter(samples), Options(model=model, **options), env)), env  # type: ignore[arg-type]


def photo(*captions: Caption, color: tuple[int, int, int] = (200, 30, 30), key: str = "k") -> Sample:
    return a_sample(key, *captions, image=jpeg(color), id=7)


def scores(sample: Sample) -> list[float | None]:
    return [each.score for each in sample.captions]


def notes(env: Env) -> dict[str, int]:
    """What was noted but for the histogram of scores."""
    return {name: count for name, count in env.tally.notes.items() if not name.startswith("score from")}


def test_scores_are_the_cosines(clip: Clip) -> None:
    sample = photo(*CAPTIONS)
    (out,), env = run(clip, [sample])
    image = clip.embed_images([clip.preprocess(decode_image(sample))])[0]
    for each in out.captions:
        assert each.score == pytest.approx(float(clip.embed_texts([each.text])[0] @ image), abs=6e-4)
        assert round(each.score or 0.0, 4) == each.score
    assert len(set(scores(out))) == len(CAPTIONS)
    assert out.members["jpg"] == sample.members["jpg"]
    assert out.document["id"] == 7
    assert out.document["clip"] == clip.identity.to_json()
    vector = np.load(io.BytesIO(out.members["clip.npy"]))
    assert (vector.shape, vector.dtype) == ((16,), np.float16)
    assert float(np.linalg.norm(vector.astype(np.float32))) == pytest.approx(1.0, abs=1e-3)
    assert not env.tally.dropped


def test_its_own_output_comes_back_byte_for_byte_without_an_image_being_decoded(clip: Clip) -> None:
    colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    samples = [photo(*CAPTIONS[: number + 2], color=color, key=str(number)) for number, color in enumerate(colors)]
    once, _ = run(clip, samples, top_k=2)
    assert [each.members for each in run(clip, once, top_k=2)[0]] == [each.members for each in once]
    blind = [Sample(each.key, {**each.members, "jpg": b"no image at all"}) for each in once]
    assert [scores(each) for each in run(clip, blind)[0]] == [scores(each) for each in once]


def test_a_score_does_not_flip_in_its_last_digit(clip: Clip) -> None:
    assert stable_score(None, 0.12345678) == 0.1235
    assert stable_score(0.1235, 0.12344999) == 0.1235  # float noise: rounding alone would say 0.1234
    assert stable_score(0.1235, 0.1234) == 0.1234
    assert stable_score(0.12351, 0.12349) == 0.1235  # not of this stage's making
    (out,), _ = run(clip, [photo(*CAPTIONS)])
    far = Caption(CAPTIONS[0].text, "en", "alt", score=0.9)
    assert run(clip, [out.with_captions([far])])[0][0].captions[0].score == out.captions[0].score


def test_an_embedding_of_another_model_or_a_broken_one_is_not_used(clip: Clip) -> None:
    sample = photo(*CAPTIONS)
    (out,), _ = run(clip, [sample])
    other = out.with_document(clip={**clip.identity.to_json(), "weights": "other"})
    wrong = io.BytesIO()
    np.save(wrong, np.ones(16, np.float16))
    for broken in (
        other.with_members(**{"clip.npy": wrong.getvalue()}),
        out.with_members(**{"clip.npy": b"not npy"}),
        out.with_members(**{"clip.npy": wrong.getvalue()[:-3]}),
    ):
        (again,), _ = run(clip, [broken])
        assert again.members["clip.npy"] == out.members["clip.npy"]
        assert again.captions == out.captions


def test_min_score_and_top_k(clip: Clip) -> None:
    (all_of_them,), _ = run(clip, [photo(*CAPTIONS)])
    ranked = sorted((score for score in scores(all_of_them) if score is not None), reverse=True)
    (kept,), env = run(clip, [photo(*CAPTIONS)], min_score=ranked[2])
    assert kept.captions == [each for each in all_of_them.captions if (each.score or 0) >= ranked[2]]
    assert notes(env) == {f"captions below {ranked[2]:g}": 2}
    (best,), env = run(clip, [photo(*CAPTIONS)], top_k=1)
    for lang in ("en", "pt"):
        own = [each for each in all_of_them.captions if each.lang == lang]
        assert [each for each in best.captions if each.lang == lang] == [max(own, key=lambda each: each.score or 0)]
    assert notes(env) == {"captions not among the best 1": 3}
    none, env = run(clip, [photo(*CAPTIONS)], min_score=1.0)
    assert none == []
    assert env.tally.dropped == {"no caption left": 1}


def test_equal_scores_keep_their_order(clip: Clip) -> None:
    same = [Caption("a red dog", "en", by) for by in ("alt", "x", "y")]
    (out,), _ = run(clip, [photo(*same)], top_k=2)
    assert [each.by for each in out.captions] == ["alt", "x"]


def test_other_languages_are_left_alone(clip: Clip) -> None:
    (out,), _ = run(clip, [photo(*CAPTIONS)], lang="por", top_k=1)
    assert [(each.lang, each.score is None) for each in out.captions] == [
        ("en", True), ("en", True), ("en", True), ("pt", False),
    ]  # fmt: skip


@pytest.mark.parametrize("on", ["best", "first", "mean"])
def test_whole_images(clip: Clip, on: str) -> None:
    samples = [photo(*CAPTIONS[:3], color=color, key=str(color)) for color in ((250, 10, 10), (10, 10, 250))]
    scored, _ = run(clip, samples)
    verdict = [
        {"best": max, "first": lambda values: values[0], "mean": lambda values: sum(values) / 3}[on](scores(each))
        for each in scored
    ]
    floor = sum(verdict) / 2
    kept, env = run(clip, samples, level="image", on=on, min_score=floor)
    assert [each.key for each in kept] == [
        each.key for each, value in zip(scored, verdict, strict=True) if value >= floor
    ]
    assert [len(each.captions) for each in kept] == [3]
    reason = f"mean below {floor:g}" if on == "mean" else f"{on} caption below {floor:g}"
    assert env.tally.dropped == {reason: 1}


def test_an_image_without_a_caption_to_judge_by(clip: Clip) -> None:
    kept, env = run(clip, [photo(CAPTIONS[0])], level="image", min_score=0.0, lang="hi")
    assert (kept, env.tally.dropped) == ([], {"no caption to judge it by": 1})
    (out,), _ = run(clip, [photo()])
    assert "clip.npy" in out.members  # an embedding is of use without captions


def test_what_cannot_be_used_is_dropped_alone(clip: Clip) -> None:
    bad = [
        Sample("a", {"json": b"{}"}),
        Sample("b", {"jpg": b"", "json": b"{}"}),
        Sample("c", {"jpg": jpeg(), "json": encode_json({"captions": 3})}),
    ]
    out, env = run(clip, [*bad, photo(*CAPTIONS)])
    assert [each.key for each in out] == ["k"]
    assert (env.tally.failed, sum(env.tally.dropped.values())) == (3, 3)


def test_an_unknown_language_is_said_first() -> None:
    with pytest.raises(CapivaraError, match="there is no language 'portugese'"):
        check_options(Options(lang="portugese"))


def rejecting(clip: Clip, samples: list[Sample], **options: object) -> tuple[list[Sample], list[tuple[Sample, str]]]:
    """What stays, and what ``--rejects`` is given."""
    env = Env(Settings(device="cpu"), "filter", {("clip", "tiny", "", "cpu"): clip})
    rejects: list[tuple[Sample, str]] = []
    env.reject = lambda sample, reason: rejects.append((sample, reason))
    return list(filter_stage.run(iter(samples), Options(model="tiny", **options), env)), rejects  # type: ignore[arg-type]


def test_rejects_keep_the_removed_captions_with_their_reasons(clip: Clip) -> None:
    (scored,), _ = run(clip, [photo(*CAPTIONS)])
    (kept,), rejects = rejecting(clip, [photo(*CAPTIONS)], top_k=1, rules="length", min_chars=1)
    ((rejected, reason),) = rejects
    assert (rejected.key, reason, list(rejected.members)) == ("k", "captions removed", ["json"])
    assert rejected.document["id"] == 7
    gone = [(each.text, each.score, dict(each.more)["dropped"]) for each in rejected.captions]
    assert gone[-1][:2] != ("green", None)
    by_text = {each.text: each for each in scored.captions}
    assert ("green", None, '"shorter than 2 words"') in gone
    assert [(text, score) for text, score, _ in gone if text != "green"] == [
        (text, by_text[text].score) for text, _, why in gone if why == '"not among the best 1"'
    ]
    assert {each.text for each in (*kept.captions, *rejected.captions)} == {each.text for each in CAPTIONS}
    assert len(kept.captions) + len(rejected.captions) == len(CAPTIONS)


def test_rejects_keep_a_dropped_sample_whole(clip: Clip) -> None:
    sample = photo(*CAPTIONS[:2])
    kept, rejects = rejecting(clip, [sample], min_score=1.0)
    ((rejected, reason),) = rejects
    assert (kept, reason) == ([], "no caption left")
    assert rejected.members["jpg"] == sample.members["jpg"]
    assert [(each.text, dict(each.more)["dropped"]) for each in rejected.captions] == [
        (each.text, '"below 1"') for each in CAPTIONS[:2]
    ]
    assert all(each.score is not None for each in rejected.captions)
    assert rejecting(clip, [sample])[1] == []


def test_images_are_removed_by_their_header_or_their_pixels(clip: Clip) -> None:
    small, long = a_sample("small", CAPTIONS[0], image=jpeg(size=(64, 31))), photo(CAPTIONS[0], key="long")
    long = long.with_members(jpg=jpeg(size=(200, 40)))
    good = photo(*CAPTIONS, key="good")
    kept, env = run(clip, [small, long, good], min_side=32, max_aspect=4)
    assert [each.key for each in kept] == ["good"]
    assert env.tally.dropped == {"image side below 32 pixels": 1, "image more than 4 times as long as wide": 1}
    kept, env = run(clip, [good], min_entropy=0.5)
    assert (kept, env.tally.dropped) == ([], {"image entropy below 0.5 bits": 1})
    assert env.tally.failed == 0
    cut = Sample("cut", {**small.members, "jpg": small.members["jpg"][:150]})
    assert [each.key for each in run(clip, [cut, good], min_side=32)[0]] == ["good"]  # judged by its header alone


def test_a_translation_is_judged_by_the_text_it_comes_of_even_when_that_is_gone(clip: Clip) -> None:
    source = Caption("a red dog", "en", "alt")
    translations = [
        Caption("um cachorro vermelho", "pt", "x", of=source.text),
        Caption("uma bola", "pt", "x", of="the blue ball on a house"),
    ]
    given = photo(source, Caption("the blue ball on a house", "en", "alt"), *translations)
    for by in ("original", "best"):
        (once,), _ = run(clip, [given], score_by=by)
        own = {each.text: each.score for each in once.captions}
        stored = {each.text: dict(each.more).get("of_score") for each in once.captions}
        assert stored == {
            "a red dog": None,
            "the blue ball on a house": None,
            "um cachorro vermelho": repr(own["a red dog"]),
            "uma bola": repr(own["the blue ball on a house"]),
        }
        alone = once.with_captions(once.captions[2:])
        (again,), _ = run(clip, [alone], score_by=by)
        assert again.members == alone.members
    (plain,), _ = run(clip, [given], score_by="text")
    assert all(not each.more for each in plain.captions)
    worse = min(("a red dog", "the blue ball on a house"), key=lambda text: own[text] or 0)
    (best,), _ = run(clip, [given], score_by="original", top_k=1)
    assert [each.of for each in best.captions if each.lang == "pt"] != [worse]


def test_without_a_model_it_selects_by_the_scores_that_are_there(clip: Clip) -> None:
    captions = [Caption("a red dog", "en", "alt", score=0.3), Caption("a cat", "en", "alt", score=0.1)]
    sample = photo(*captions, Caption("green", "en", "alt"))
    env = Env(Settings(device="cpu"), "filter")
    blind = Sample("k", {**sample.members, "jpg": b"never decoded"})
    (out,) = filter_stage.run(iter([blind]), Options(score=False, model="no such model", min_score=0.2), env)
    assert [each.text for each in out.captions] == ["a red dog", "green"]
    assert "clip.npy" not in out.members
    assert env.tally.notes == {
        "captions below 0.2": 1, "captions without a score, which stay": 1, "score from 0.30": 1, "score from 0.10": 1,
    }  # fmt: skip
    (same,) = filter_stage.run(iter([out]), Options(score=False, min_score=0.2), env)
    assert same is out
    Options(score=False, model="no such model").check()


def test_bfloat16_scores_are_near_and_steady(clip: Clip) -> None:
    samples = [photo(*CAPTIONS, key=str(number), color=(40 * number, 90, 200)) for number in range(3)]
    exact, _ = run(clip, samples)
    near, _ = run(clip, samples, precision="bf16")
    pairs = [
        (a, b) for one, two in zip(exact, near, strict=True) for a, b in zip(scores(one), scores(two), strict=True)
    ]
    assert any(a != b for a, b in pairs)
    assert max(abs((a or 0) - (b or 0)) for a, b in pairs) < 0.02  # a tower 32 wide is less exact than one of 768
    assert [each.members["clip.npy"] for each in near] == [each.members["clip.npy"] for each in exact]
    again, _ = run(clip, near[::-1], precision="bf16", batch_size=1)
    assert [each.members for each in again[::-1]] == [each.members for each in near]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_and_embeddings_do_not_depend_on_the_batch(clip: Clip, precision: str) -> None:
    texts = [Caption(f"a {'red ' * number}dog", "en", "alt") for number in range(19)]
    samples = [
        photo(*texts[number : number + 3], key=str(number), color=(13 * number, 90, 200)) for number in range(17)
    ]
    alone = [run(clip, [each], precision=precision)[0][0].members for each in samples]
    for size in (2, 3, 7, 8, 9, 17):
        out, _ = run(clip, samples, precision=precision, batch_size=size)
        assert [each.members for each in out] == alone
    reversed_, _ = run(clip, samples[::-1], precision=precision)
    assert [each.members for each in reversed_] == alone[::-1]


def test_precision_auto_is_fp32_for_a_narrow_tower(clip: Clip) -> None:
    samples = [photo(*CAPTIONS)]
    assert run(clip, samples)[0] == run(clip, samples, precision="fp32")[0]


@pytest.mark.parametrize(
    "options",
    [
        {"select": "rank", "top_k": 2},
        {"select": "threshold", "min_score": -0.25},
        {"select": "threshold-diversity", "min_score": -0.3, "k_min": 1},
        {"select": "threshold", "level": "image", "min_score": -0.2, "on": "mean"},
        {"rules": "length,junk,script,language", "min_side": 10, "min_chars": 3},
        {"score_by": "best", "top_k": 1, "per_lang": False},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_way_of_selecting_leaves_its_own_output_as_it_is(clip: Clip, options: dict[str, object]) -> None:
    translated = Caption("um cachorro vermelho", "pt", "x", of="a red dog")
    samples = [
        photo(*CAPTIONS, translated, Caption("a red dog and a cat", "en", "alt"), color=color, key=str(number))
        for number, color in enumerate([(250, 10, 10), (10, 250, 10), (10, 10, 250)])
    ]
    once, env = run(clip, samples, **options)
    assert once
    assert env.tally.dropped or any(name.startswith("captions") for name in env.tally.notes)
    twice, env = run(clip, once, **options)
    assert [each.members for each in twice] == [each.members for each in once]
    assert not env.tally.dropped and not any(name.startswith("captions") for name in env.tally.notes)
    assert sum(count for name, count in env.tally.notes.items() if name.startswith("score from")) == len(
        [each for sample in once for each in sample.captions]
    )


def scored_shard() -> list[Sample]:
    """Eight samples that the toy model knows, two captions each, and one that cannot be used."""
    return [*toy_like(8), Sample("bad", {"jpg": b"", "json": b"{}"})]


def test_a_corpus_wide_share_is_the_same_over_shards_and_as_one_stream(
    shards: Callable[..., Path], tmp_path: Path
) -> None:
    samples = scored_shard()
    folder = shards(samples[:3], samples[3:4], samples[4:])
    plan = parse_plan("filter --model toy --top-fraction 0.5 --no-per-lang")
    out = io.BytesIO()
    summary = engine.run(plan, [str(folder)], Settings(quiet=True, energy=False), out).summary()
    settings = Settings(quiet=True, energy=False, out=str(tmp_path / "done"), rejects=str(tmp_path / "rejects"))
    engine.run(plan, [str(folder)], settings, None)
    stream = list(ShardReader(io.BytesIO(out.getvalue()), "x"))
    done = [each for path in sorted((tmp_path / "done").glob("*.tar")) for each in ShardReader(path.open("rb"), "x")]
    assert [(each.key, each.members) for each in done] == [(each.key, each.members) for each in stream]
    assert sum(len(each.captions) for each in stream) == 8  # the half of sixteen, exactly
    rejected = [
        each for path in sorted((tmp_path / "rejects").rglob("*.tar")) for each in ShardReader(path.open("rb"), "x")
    ]
    lost = [caption for each in rejected for caption in each.captions]
    assert len(lost) == 8
    assert {dict(each.more)["dropped"] for each in lost} == {'"not among the best 0.5 of the corpus"'}
    assert min(each.score or 0 for sample in stream for each in sample.captions) >= max(
        each.score or 0 for each in lost
    )
    assert (summary["read"], summary["dropped"]["image has zero bytes"]) == (9, 1)
    assert sum(take(summary).values()) == 16
    assert summary["notes"] == {"captions not among the best 0.5 of the corpus": 8}
