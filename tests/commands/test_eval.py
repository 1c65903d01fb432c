"""`capivara eval` on shards and run folders, with a stand-in model whose every embedding is known."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.standin import DIM, Fake, environment, make_run, png, rows, sample

from capivara_cli.commands.eval import Options, sort_targets
from capivara_cli.commands.eval import eval as evaluate
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.shards.embedding import TowerIdentity
from capivara_cli.shards.sample import Caption, Sample, encode_json


def test_recall_by_language_and_disparity(shards, capsys):
    folder = shards([sample(n, "en", "pt") for n in range(4)], [sample(n, "en", "pt") for n in range(4, 8)])
    found = evaluate.run([str(folder)], Options(model="fake", k="1,2"), environment(fake=Fake()))
    english, portuguese = found["retrieval"]
    assert (english["lang"], english["set"], english["model"]) == ("en", str(folder), "fake")
    assert (english["n_images"], english["n_captions"]) == (8, 8)
    assert english["text_to_image"] == {"R@1": 100.0, "R@2": 100.0, "mean": 100.0}
    # No Portuguese: every image ties, so recall is chance.
    assert portuguese["text_to_image"] == pytest.approx({"R@1": 12.5, "R@2": 25.0, "mean": 18.75})
    assert portuguese["image_to_text"] == pytest.approx({"R@1": 12.5, "R@2": 25.0, "mean": 18.75})
    assert portuguese["mean_recall"] == pytest.approx(18.75)
    assert portuguese["machine_translated"] is False
    (disparity,) = found["disparity"]
    assert disparity["range"] == pytest.approx(81.25)
    assert (disparity["worst"], disparity["languages"]) == ("pt", ["en", "pt"])
    assert disparity["gap_to_english"] == {"pt": pytest.approx(81.25)}
    err = capsys.readouterr().err
    assert "8 images, 8 captions" in err
    assert "pt    fake      12.5     25.0     12.5     25.0         18.8" in err
    json.dumps(found)  # what --json writes


def test_models_with_one_image_tower_share_the_embeddings(shards, capsys):
    folder = shards([sample(n, "en", "pt") for n in range(8)])
    base, tuned, other = Fake(), Fake(knows="en,pt"), Fake(tower="b")
    models = environment(base=base)
    models.models.update({("clip", "tuned", "", "cpu"): tuned, ("clip", "other", "", "cpu"): other})
    for run in ("tuned", "other"):
        make_run(folder.parent / run)
    runs = [str(folder.parent / run) for run in ("tuned", "other")]
    models.models.update({("clip", run, "", "cpu"): model for run, model in zip(runs, (tuned, other), strict=True)})
    found = evaluate.run([str(folder), *runs], Options(model="base", k="1"), models)
    assert (base.embedded, tuned.embedded, other.embedded) == (8, 0, 8)
    assert rows(found, lang="pt", model="base")[0]["mean_recall"] == pytest.approx(12.5)
    assert rows(found, lang="pt", model=runs[0])[0]["mean_recall"] == 100.0
    assert "+87.5" in capsys.readouterr().err
    saved = json.loads((folder.parent / "tuned" / "eval.json").read_text())
    assert [(row["lang"], row["model"]) for row in saved["retrieval"]] == [
        (lang, model) for lang in ("en", "pt") for model in ("base", *runs)
    ]


def test_eval_json_keeps_other_sets_and_replaces_its_own(shards):
    first = shards([sample(n, "en") for n in range(4)], name="first")
    second = shards([sample(n, "en") for n in range(6)], name="second")
    run = first.parent / "run"
    make_run(run)
    for knows, folder in (("xx", first), ("en", second), ("en", first)):
        env = environment(**{str(run): Fake(knows=knows)})
        evaluate.run([str(run), str(folder)], Options(k="1"), env)
    saved = json.loads((run / "eval.json").read_text())
    assert [(row["set"], row["n_images"]) for row in saved["retrieval"]] == [(str(second), 6), (str(first), 4)]
    assert [row["mean_recall"] for row in saved["retrieval"]] == [100.0, 100.0]
    (run / "eval.json").write_text("{")
    model = Fake()
    with pytest.raises(CapivaraError, match=r"eval\.json: damaged"):
        evaluate.run([str(run), str(first)], Options(k="1"), environment(**{str(run): model}))
    assert (model.texts, model.embedded) == ([], 0)  # said before anything is evaluated
    assert (run / "eval.json").read_text() == "{"


def stored(number: int, dim: int = DIM) -> bytes:
    out = io.BytesIO()
    np.save(out, np.eye(dim, dtype=np.float16)[number % dim])
    return out.getvalue()


def with_embedding(number: int, data: bytes, identity: TowerIdentity) -> Sample:
    return sample(number, "en", **{"clip.npy": data}).with_document(clip=identity.to_json())


def test_stored_embeddings_are_used_only_when_they_are_of_this_tower(shards):
    own, foreign = Fake().identity, Fake(tower="b").identity
    samples = [with_embedding(n, stored(n), own) for n in range(4)]
    # Used, not the pixels: the stored embeddings of images 0 and 1 are exchanged.
    samples[:2] = [with_embedding(0, stored(1), own), with_embedding(1, stored(0), own)]
    samples += [
        with_embedding(4, stored(0), foreign),
        with_embedding(5, stored(0, dim=4), own),
        with_embedding(6, b"\x93NUMPY damaged", own),
        with_embedding(7, stored(0)[:-8] + b"\xff\x7f" * 4, own),  # not a number
    ]
    model = Fake()
    found = evaluate.run([str(shards(samples))], Options(model="fake", k="1"), environment(fake=model))
    assert model.embedded == 4
    assert found["retrieval"][0]["text_to_image"]["R@1"] == 75.0


def test_a_stored_embedding_needs_no_image(shards):
    samples = [with_embedding(n, stored(n), Fake().identity) for n in range(3)]
    bare = [Sample(each.key, {k: v for k, v in each.members.items() if k != "png"}) for each in samples]
    found = evaluate.run([str(shards(bare))], Options(model="fake", k="1"), environment(fake=Fake()))
    assert found["retrieval"][0]["n_images"] == 3


def test_unusable_samples_are_counted(shards):
    good = [sample(n, "en") for n in range(3)]
    no_image = Sample("a", {"json": good[0].members["json"]})
    empty = Sample("b", {"png": b"", "json": good[0].members["json"]})
    bad_json = Sample("c", {"png": png(4), "json": b"[]"})
    silent = Sample("d", {"png": png(5), "json": encode_json({"captions": [{"text": " ", "lang": "en", "by": "x"}]})})
    env = environment(fake=Fake())
    found = evaluate.run([str(shards([*good, no_image, empty, bad_json, silent]))], Options(model="fake", k="1"), env)
    assert found["dropped"] == {"no image": 1, "image has zero bytes": 1, "json is not an object": 1}
    assert found["notes"] == {"empty caption": 1}
    (row,) = found["retrieval"]
    assert (row["n_images"], row["n_captions"], row["n_uncaptioned"]) == (4, 3, 1)
    assert row["image_to_text"]["R@1"] == 75.0
    assert row["text_to_image"]["R@1"] == 100.0
    assert env.tally.read == 7


def test_no_usable_image_at_all(shards):
    folder = shards([Sample("a", {"json": sample(0, "en").members["json"]})])
    with pytest.raises(CapivaraError, match=r"no images to evaluate on: no image \(1\)"):
        evaluate.run([str(folder)], Options(model="fake"), environment(fake=Fake()))


def test_an_absent_language_is_said_before_any_image_is_embedded(shards):
    folder = shards([sample(n, "en", "pt") for n in range(4)])
    model = Fake()
    with pytest.raises(CapivaraError) as caught:
        evaluate.run([str(folder)], Options(model="fake", lang="pt,hi"), environment(fake=model))
    assert caught.value.message == f"{folder}: no captions in hi; there are en (4 captions), pt (4 captions)"
    assert caught.value.hint == f"capivara translate {folder} --lang hi | capivara eval - --lang hi"
    assert model.embedded == 0


def test_shards_without_captions(shards):
    folder = shards([sample(n) for n in range(4)])
    with pytest.raises(CapivaraError, match="no captions in any language; there are none at all"):
        evaluate.run([str(folder)], Options(model="fake"), environment(fake=Fake()))


def test_translated_captions_are_labelled(shards, capsys):
    made = Caption("pt 1", "pt", "argos:en-pt", of="en 1")
    samples = [sample(n, "en").with_captions([*sample(n, "en").captions, made]) for n in range(3)]
    found = evaluate.run([str(shards(samples))], Options(model="fake", k="1"), environment(fake=Fake()))
    assert [row["machine_translated"] for row in found["retrieval"]] == [False, True]
    assert found["retrieval"][1]["provenance"]["captions_by"] == {"argos:en-pt": 3}
    err = capsys.readouterr().err
    assert "pt (MT)" in err
    assert "(MT) captions machine-translated (argos:en-pt)" in err


@pytest.mark.parametrize(
    ("captions", "synthetic"),
    [
        ([Caption("en {}", "en", "human")], [False]),
        ([Caption("en {}", "en", "blip2", prefix="")], [True]),
        (
            [Caption("en {}", "en", "blip2", prefix="a photo of"), Caption("pt {}", "pt", "argos", of="en {}")],
            [True] * 2,
        ),
        ([Caption("en {}", "en", "human"), Caption("pt {}", "pt", "argos", of="en {}")], [False, False]),
        ([Caption("en {}", "en", "human"), Caption("pt {}", "pt", "blip2", prefix="")], [False, True]),
        ([Caption("en {}", "en", "x", of="en {}")], [False]),  # a source that is the text itself
    ],
)
def test_captions_of_a_captioner_are_marked_as_synthetic(
    captions: list[Caption], synthetic: list[bool], shards: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    samples = []
    for number in range(3):
        own = [replace(each, text=each.text.format(number), of=each.of and each.of.format(number)) for each in captions]
        samples.append(sample(number).with_captions(own))
    found = evaluate.run([str(shards(samples))], Options(model="fake", k="1"), environment(fake=Fake()))
    assert [row["synthetic"] for row in found["retrieval"]] == synthetic
    assert ("(synthetic): captions by a captioner, not by people" in capsys.readouterr().err) == any(synthetic)


def test_languages_are_found_however_they_are_written(shards):
    folder = shards([sample(n, "pt-BR") for n in range(3)])
    found = evaluate.run(
        [str(folder)], Options(model="fake", k="1", lang="portuguese"), environment(fake=Fake("pt-BR"))
    )
    assert [(row["lang"], row["mean_recall"]) for row in found["retrieval"]] == [("pt", 100.0)]


def test_classification_with_names_and_templates(shards, tmp_path):
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"en": ["n 0", "n 1", "n 2"], "pt": ["m 0", "m 1", "m 2"]}))
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"en": ["en {}", "en the {c}"], "pt": ["pt {}"]}))
    folder = shards([sample(n, cls=n % 3) for n in range(3)] + [sample(5)])
    options = Options(model="fake", classes=str(names), templates=str(prompts))
    model = Fake()
    found = evaluate.run([str(folder)], options, environment(fake=model))
    assert found["retrieval"] == []
    english, portuguese = found["classification"]
    assert (english["lang"], english["n_images"], english["n_classes"], english["n_templates"]) == ("en", 3, 3, 2)
    assert (english["top1"], english["top5"], english["mean_per_class"]) == (100.0, None, 100.0)
    assert portuguese["top1"] == pytest.approx(100 / 3)
    assert model.texts[:6] == ["en n 0", "en the n 0", "en n 1", "en the n 1", "en n 2", "en the n 2"]
    assert found["disparity"][0]["score"] == "accuracy"


def test_plain_lists_take_the_language_of_the_command(shards, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("pt 0\npt 1\n\n", "utf-8")
    folder = shards([sample(n, cls=n).with_document(captions=[]) for n in (0, 1)])
    found = evaluate.run(
        [str(folder)], Options(model="fake", lang="pt", classes=str(names)), environment(fake=Fake("pt"))
    )
    assert [(row["lang"], row["top1"]) for row in found["classification"]] == [("pt", 100.0)]
    with pytest.raises(UsageError, match="holds one list, and --lang names 2 languages"):
        evaluate.run([str(folder)], Options(model="fake", lang="pt,hi", classes=str(names)), environment(fake=Fake()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\na\n", "class name 'a' stands for classes 0, 2"),
        ("a\nb\n", "sample '002' has class 2, and there are 2 class names (0 to 1)"),
        ('{"en": ["a", "b", "c"], "pt": ["a", "b"]}', "different numbers of classes: en 3, pt 2"),
        ('{"en": "a"}', 'not {"pt": ["name", …], …}'),
        ('{"en": ["a",', "not JSON"),
    ],
)
def test_bad_class_names(shards, tmp_path, text, message):
    names = tmp_path / "names"
    names.write_text(text, "utf-8")
    folder = shards([sample(n, "en", cls=n) for n in range(3)])
    with pytest.raises(CapivaraError) as caught:
        evaluate.run([str(folder)], Options(model="fake", classes=str(names)), environment(fake=Fake()))
    assert message in caught.value.message


def test_class_names_for_shards_without_classes(shards, tmp_path):
    names = tmp_path / "names"
    names.write_text("a\nb\n", "utf-8")
    with pytest.raises(CapivaraError, match="no image has a class"):
        evaluate.run(
            [str(shards([sample(n, "en") for n in range(3)]))],
            Options(model="fake", classes=str(names)),
            environment(fake=Fake()),
        )
    names.write_text("a {}\n", "utf-8")
    with pytest.raises(UsageError, match="--templates needs --classes"):
        evaluate.run(
            [str(shards([sample(n, "en") for n in range(3)]))],
            Options(model="fake", templates=str(names)),
            environment(fake=Fake()),
        )
    with pytest.raises(CapivaraError, match=r"nowhere\.txt: no such file"):
        evaluate.run(["toy"], Options(model="fake", classes="nowhere.txt"), environment(fake=Fake()))


def test_a_model_whose_towers_disagree(shards):
    class Torn(Fake):
        def embed_texts(self, texts: Sequence[str], langs: str = "") -> np.ndarray:
            return np.eye(self.dim - 1, dtype=np.float32)[[0] * len(texts)]

    with pytest.raises(CapivaraError, match="image embeddings have 8 numbers and text embeddings 7"):
        evaluate.run([str(shards([sample(n, "en") for n in range(3)]))], Options(model="f"), environment(f=Torn()))


def test_targets_and_ranks(shards, tmp_path):
    folder = shards([sample(0, "en")])
    make_run(tmp_path / "run")
    run = str(tmp_path / "run")
    targets = sort_targets(["toy:40", str(folder), f"{run}/", "-", "x/{0..3}.tar", "s3://bucket/a.tar"])
    assert targets.sets == ["toy:40"]
    assert targets.shards == [str(folder), "-", "x/{0..3}.tar", "s3://bucket/a.tar"]
    assert targets.runs == [run]
    with pytest.raises(CapivaraError, match=r"there is no eval set 'toi'; there are babel.* — did you mean toy"):
        sort_targets(["toi"])
    assert Options(k="10,1, 5,1").ranks == [1, 5, 10]
    for wrong in ("", "0", "1,x", "5,", "-1"):
        with pytest.raises(UsageError, match=r"--k: '.*' is not a whole number above 0"):
            _ = Options(k=wrong).ranks
    with pytest.raises(UsageError, match="--lang: a language is empty"):
        evaluate.run(["toy"], Options(lang=" , "), environment())
    with pytest.raises(CapivaraError, match="there is no language 'portugese' — did you mean pt"):
        evaluate.run(["toy"], Options(lang="portugese"), environment())
    with pytest.raises(CapivaraError, match="no such file or folder"):
        evaluate.run(["nowhere/"], Options(model="fake"), environment(fake=Fake()))


def test_few_images_are_warned_about(shards, capsys):
    folder = shards([sample(n, "en") for n in range(3)])
    evaluate.run([str(folder)], Options(model="fake"), environment(fake=Fake()))
    assert "only 3 images: R@10 is meaningless" in capsys.readouterr().err
    with pytest.raises(CapivaraError, match="retrieval needs more than one image"):
        evaluate.run([str(shards([sample(0, "en")], name="one"))], Options(model="fake"), environment(fake=Fake()))
