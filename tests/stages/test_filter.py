"""filter: scores, selection, the stored embedding, on a tiny random CLIP of the real classes."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from made import a_sample, jpeg

from capivara_cli.clip import Clip, load_clip
from capivara_cli.errors import CapivaraError
from capivara_cli.images import decode_image
from capivara_cli.sample import Caption, Sample, encode_json
from capivara_cli.stage import Env, Settings
from capivara_cli.stages.filter import Options, _steady
from capivara_cli.stages.filter import filter as filter_stage

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny import tiny_clip

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
    assert out.document["clip"] == clip.identity
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
    assert _steady(None, 0.12345678) == 0.1235
    assert _steady(0.1235, 0.12344999) == 0.1235  # float noise: rounding alone would say 0.1234
    assert _steady(0.1235, 0.1234) == 0.1234
    assert _steady(0.12351, 0.12349) == 0.1235  # not of this stage's making
    (out,), _ = run(clip, [photo(*CAPTIONS)])
    far = Caption(CAPTIONS[0].text, "en", "alt", score=0.9)
    assert run(clip, [out.with_captions([far])])[0][0].captions[0].score == out.captions[0].score


def test_an_embedding_of_another_model_or_a_broken_one_is_not_used(clip: Clip) -> None:
    sample = photo(*CAPTIONS)
    (out,), _ = run(clip, [sample])
    other = out.with_document(clip={**clip.identity, "weights": "other"})
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
    assert env.tally.notes == {f"captions below {ranked[2]:g}": 2}
    (best,), env = run(clip, [photo(*CAPTIONS)], top_k=1)
    for lang in ("en", "pt"):
        own = [each for each in all_of_them.captions if each.lang == lang]
        assert [each for each in best.captions if each.lang == lang] == [max(own, key=lambda each: each.score or 0)]
    assert env.tally.notes == {"captions beyond the best 1": 3}
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
        Options(lang="portugese").check()
