"""Models side by side: intervals, paired tests, variants, prompts, probes, tables in files, images embedded once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from support.standin import Fake, environment, make_run, rows, sample

from capivara_cli import registry
from capivara_cli.commands.eval import Options
from capivara_cli.commands.eval import eval as evaluate
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.evaluation import catalogue, set_translator, significance
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.retrieval import retrieval
from capivara_cli.models import image_vectors
from capivara_cli.shards.sample import Caption, Sample, encode_json


def models(**contenders: Fake):
    """The first is ``--model``, the others are run folders of that name in the working folder."""
    env = environment(**contenders)
    for name in list(contenders)[1:]:
        make_run(Path(name))
    return env


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- intervals and tests ---
def test_a_difference_has_an_interval_and_a_p_value(shards, here, capsys):
    folder = str(shards([sample(n, "en", "pt") for n in range(8)]))
    found = evaluate.run(
        [folder, "tuned"], Options(model="base", k="1"), models(base=Fake(), tuned=Fake(knows="en,pt"))
    )
    before, after = rows(found, lang="pt")
    assert before["versus"] is None
    assert before["interval"] == [12.5, 12.5]  # every image has the same chance
    versus = after["versus"]
    assert (versus["model"], versus["difference"], versus["interval"]) == ("base", 87.5, [87.5, 87.5])
    # All eight signs agree in 2 of 256 flips: p is 1/128, twice that after Holm with the unchanged English.
    assert versus["p"] == pytest.approx(1 / 128, abs=3e-3)
    assert versus["p_holm"] == pytest.approx(2 * versus["p"])
    same = rows(found, lang="en")[1]["versus"]
    assert (same["difference"], same["p"], same["p_holm"]) == (0.0, 1.0, 1.0)
    err = capsys.readouterr().err
    assert "+87.5*" in err
    assert "vs base: difference from base in points; * p < 0.05, ** p < 0.01 (paired, Holm-adjusted)" in err


def with_translations(number: int, *, human: bool) -> Sample:
    """A sample with a Portuguese caption by a translator, which is wrong, and perhaps one by a person."""
    own = sample(number, *["en", "pt"][: 1 + human])
    wrong = Caption(f"pt {number + 1}", "pt", "toy:en-pt", f"en {number}")
    return own.with_captions([*own.captions, wrong])


def test_captions_by_people_are_also_measured_on_their_own(shards, here):
    folder = str(shards([with_translations(n, human=n < 5) for n in range(8)]))
    found = evaluate.run(
        [folder, "tuned"], Options(model="base", k="1", lang="pt"), models(base=Fake(), tuned=Fake(knows="en,pt"))
    )
    before, after = rows(found, lang="pt")
    people = [row["variants"]["captions by people"] for row in (before, after)]
    assert [(each["n_captions"], each["n_images"]) for each in people] == [(5, 5), (5, 5)]
    assert [each["mean_recall"] for each in people] == pytest.approx([20.0, 100.0])
    assert people[1]["interval"] == [100.0, 100.0] and "versus" not in people[0]
    assert (people[1]["versus"]["model"], round(people[1]["versus"]["difference"])) == ("base", 80)
    assert after["n_captions"] == 13 and after["mean_recall"] < 100 and after["machine_translated"]


@pytest.mark.parametrize(("people", "machine"), [(8, 0), (0, 8), (1, 8)], ids=["all", "none", "one"])
def test_captions_by_people_alone_or_by_hardly_any_are_no_variant(people, machine, shards, here):
    samples = [with_translations(n, human=n < people) if n < machine else sample(n, "pt") for n in range(8)]
    found = evaluate.run([str(shards(samples))], Options(model="base", k="1", lang="pt"), models(base=Fake()))
    assert rows(found)[0]["variants"].keys() & {"captions by people"} == set()


def test_intervals_are_those_of_the_embeddings(shards):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 16)).astype(np.float32)

    class Noisy(Fake):
        def embed_texts(self, texts, langs=""):
            vectors = super().embed_texts(texts) + noise[[int(text.split()[-1]) for text in texts]] * 0.4
            return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    folder = shards([sample(n, "en") for n in range(16)])
    (row,) = evaluate.run([str(folder)], Options(model="m"), environment(m=Noisy(dim=16)))["retrieval"]
    texts = Noisy(dim=16).embed_texts([f"en {n}" for n in range(16)])
    expected = retrieval(np.eye(16, dtype=np.float32), texts, range(16))
    low, high = significance.interval(expected.contributions)
    assert row["interval"] == pytest.approx([100 * low, 100 * high])
    assert low < expected.mean_recall < high
    assert row["median_rank"] == {
        "text_to_image": expected.median_rank_text, "image_to_text": expected.median_rank_image
    }  # fmt: skip


# --- references that are none, and equal ones ---
class Odd:
    """An eval set of 6 images in two languages; in pt two captions are equal and one is junk."""

    SAID = (0, 1, 1, 3, 4, 5)

    @staticmethod
    def languages(variant: str) -> tuple[str, ...]:
        return ("en", "pt")

    @classmethod
    def load(cls, variant, *, lang, data, split, env) -> EvalSet:
        made = []
        for number in range(6):
            said = cls.SAID[number] if lang == "pt" else number
            caption = Caption(f"{lang} {said}", lang, "human").to_json()
            made.append(sample(number).with_document(captions=[caption]))
        junk = frozenset({"005"}) if lang == "pt" else frozenset()
        return EvalSet("odd", lang, made, Provenance("here", "none", "test", by="human"), junk=junk)


@pytest.fixture
def odd(monkeypatch):
    plugin = registry.module
    monkeypatch.setattr(registry, "names", lambda kind: ["odd"])
    monkeypatch.setattr(registry, "module", lambda kind, name: Odd if name == "odd" else plugin(kind, name))


def test_junk_and_equal_captions_are_scored_both_ways(odd, capsys):
    found = evaluate.run(["odd"], Options(model="m", k="1"), environment(m=Fake(knows="en,pt")))
    english, portuguese = found["retrieval"]
    assert english["variants"] == {}
    # "pt 1" is said of images 1 and 2: image 2's own caption finds image 1, and no caption is nearest to image 2 but
    # by chance.
    usual = portuguese["mean_recall"]
    shared, clean = portuguese["variants"]["equal captions count"], portuguese["variants"]["without junk"]
    assert portuguese["text_to_image"]["R@1"] == pytest.approx(100 * 5 / 6)
    assert shared["text_to_image"]["R@1"] == 100.0
    assert shared["mean_recall"] > usual
    assert clean["n_captions"] == 5
    assert clean["text_to_image"]["R@1"] == pytest.approx(100 * 4 / 5)
    err = capsys.readouterr().err
    assert f"odd pt m, without junk: mean recall {clean['mean_recall']:.2f} of 5 captions" in err
    assert "odd pt m, equal captions count" in err


# --- queries ---
def test_a_hard_prompt_is_put_around_every_caption(shards):
    model = Fake()
    (row,) = evaluate.run(
        [str(shards([sample(n, "en") for n in range(3)]))],
        Options(model="m", k="1", prompt="en photo of {}"),
        environment(m=model),
    )["retrieval"]
    assert model.texts == ["en photo of en 0", "en photo of en 1", "en photo of en 2"]
    assert row["prompt"] == "en photo of {}"
    for wrong in ("a photo", "{} and {}"):
        with pytest.raises(UsageError, match=r"needs one \{\} in place of the caption"):
            evaluate.run(["toy"], Options(model="m", prompt=wrong), environment(m=model))


class Dictionary:
    """A translator that says in another language what it is given."""

    by, version = "dictionary", ""

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self, texts):
        return [" ".join([self.target, *text.split()[1:]]) for text in texts]


@pytest.fixture
def dictionary(monkeypatch):
    def load(spec, *, source, target, setup):
        return Dictionary(target)

    monkeypatch.setattr(set_translator.translators, "load", load)


def test_queries_are_translated_on_request(shards, dictionary, capsys):
    model = Fake()
    found = evaluate.run(
        [str(shards([sample(n, "en", "pt") for n in range(4)]))],
        Options(model="m", k="1", translate_queries=True),
        environment(m=model),
    )
    english, portuguese = found["retrieval"]
    assert (english["queries_by"], portuguese["queries_by"]) == ("", "dictionary")
    assert portuguese["mean_recall"] == 100.0
    assert all(text.startswith("en") for text in model.texts)
    assert "† queries machine-translated first (dictionary)" in capsys.readouterr().err


# --- classes ---
class Shapes:
    """Images 0 to 5 of three classes; only two of them have a name in pt, and Hindi has none of its own."""

    NAMES: ClassVar = {"en": ("en 0", "en 1", "en 2"), "pt": ("pt 2", "pt 0")}

    @staticmethod
    def languages(variant: str) -> tuple[str, ...]:
        return ("en", "pt")

    @classmethod
    def load(cls, variant, *, lang, data, split, env) -> EvalSet:
        made = [Sample(f"{n:03d}", {**sample(n % 3).members, "cls": b"%d" % (n % 3)}) for n in range(6)]
        ids = (2, 0) if lang == "pt" else ()
        templates = ("{}", "en photo of {}") if lang == "en" else ()
        origin = Provenance("here", "none", split, by="human")
        names = cls.NAMES[lang][:-1] if variant else cls.NAMES[lang]
        return EvalSet(
            "shapes", lang, made, origin, names, templates, ids, "mean-per-class", "us", unnamed=len(variant and "x")
        )


@pytest.fixture
def shapes(monkeypatch):
    plugin = registry.module
    monkeypatch.setattr(registry, "names", lambda kind: ["shapes"])
    monkeypatch.setattr(registry, "module", lambda kind, name: Shapes if name == "shapes" else plugin(kind, name))


def test_a_language_with_names_for_some_classes(shapes, dictionary):
    found = evaluate.run(["shapes"], Options(model="m"), environment(m=Fake(knows="en,pt")))
    english, portuguese = found["classification"]
    assert (english["n_images"], english["n_classes"], english["score"]) == (6, 3, 100.0)
    assert (portuguese["n_images"], portuguese["n_classes"], portuguese["score"]) == (4, 2, 100.0)
    assert portuguese["confusion"] == {"names": ["pt 2", "pt 0"], "counts": [[2, 0], [0, 2]]}
    assert (english["metric"], english["names_by"], english["templates_by"]) == ("mean-per-class", "us", "")
    # Portuguese has no templates: those in English are translated, and it is said by whom.
    assert (portuguese["templates_by"], portuguese["machine_translated"], portuguese["n_templates"]) == (
        "dictionary", True, 2,
    )  # fmt: skip


def test_a_class_that_a_published_list_has_forgotten_is_always_missed(shapes):
    (row,) = evaluate.run(["shapes:short"], Options(model="m", lang="en"), environment(m=Fake()))["classification"]
    assert (row["n_images"], row["n_classes"]) == (6, 3)
    assert row["score"] == pytest.approx(200 / 3)
    assert row["confusion"]["names"] == ["en 0", "en 1", "(no name)"]
    assert [counts[2] for counts in row["confusion"]["counts"]] == [0, 0, 0]


def test_names_are_translated_for_a_language_that_has_none(shapes, dictionary, capsys):
    model = Fake(knows="en,hi")
    (row,) = evaluate.run(["shapes"], Options(model="m", lang="hi"), environment(m=model))["classification"]
    assert (row["score"], row["names_by"], row["machine_translated"]) == (100.0, "dictionary", True)
    assert "hi 0" in model.texts
    assert "hi (MT)" in capsys.readouterr().err


def test_names_that_become_equal_stay_as_they_were(shapes, monkeypatch):
    class Vague(Dictionary):
        def __call__(self, texts):
            return ["hi same" if text in ("en 0", "en 1") else text.replace("en", "hi") for text in texts]

    monkeypatch.setattr(set_translator.translators, "load", lambda *args, target, **kwargs: Vague(target))
    model = Fake(knows="en,hi")
    env = environment(m=model)
    (row,) = evaluate.run(["shapes"], Options(model="m", lang="hi"), env)["classification"]
    assert row["confusion"]["names"] == ["en 0", "en 1", "hi 2"]
    note = "class names not translated to hi: the translation is empty or not unique"
    assert env.tally.notes[note] == 2


def test_a_template_that_loses_its_place_is_dropped_or_an_error(shapes, monkeypatch):
    class Careless(Dictionary):
        def __call__(self, texts):
            return [text if text.startswith("en ") and "photo" not in text else "hi foto" for text in texts]

    monkeypatch.setattr(set_translator.translators, "load", lambda *args, target, **kwargs: Careless(target))
    env = environment(m=Fake())
    (row,) = evaluate.run(["shapes"], Options(model="m", lang="hi"), env)["classification"]
    assert row["n_templates"] == 1
    assert env.tally.notes["templates dropped: the translation to hi lost the class name"] == 1


def test_probes_know_no_language_and_are_of_the_tower(shapes, here):
    env = models(base=Fake(), tuned=Fake(knows="pt"), other=Fake(tower="b"))
    options = Options(model="base", lang="en", mode="linear-probe,few-shot")
    with pytest.raises(CapivaraError, match="6 test images each: 0 of 3 classes have enough images"):
        evaluate.run(["shapes", "tuned", "other"], options, env)
    options = Options(model="base", lang="en", mode="linear-probe")
    found = evaluate.run(["shapes", "tuned", "other"], options, env)["classification"]
    assert [(row["model"], row["mode"], row["lang"], row["score"]) for row in found] == [
        ("base", "linear-probe", "", 100.0), ("other", "linear-probe", "", 100.0),
    ]  # fmt: skip
    assert found[0]["fit"]["n_train"] == 6


def test_a_linear_probe_of_shards_needs_images_to_train_on(shards, tmp_path):
    names = tmp_path / "names"
    names.write_text("en 0\nen 1\nen 2\n")
    train = shards([sample(n % 3, cls=n % 3) for n in range(12)], name="train")
    test = shards([sample(n, cls=n) for n in range(3)])
    options = Options(model="m", lang="en", mode="linear-probe", classes=str(names))
    with pytest.raises(CapivaraError, match="a linear probe needs training images"):
        evaluate.run([str(test)], options, environment(m=Fake()))
    options = Options(model="m", lang="en", mode="linear-probe", classes=str(names), train=str(train))
    (row,) = evaluate.run([str(test)], options, environment(m=Fake()))["classification"]
    assert (row["score"], row["n_images"]) == (100.0, 3)
    with pytest.raises(UsageError, match="there is no mode 'probe'"):
        evaluate.run([str(test)], Options(model="m", mode="probe"), environment(m=Fake()))


# --- images are embedded once ---
def test_images_are_embedded_once_for_all_runs_of_eval(shards, monkeypatch, tmp_path):
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    folder = str(shards([sample(n, "en", "pt") for n in range(8)]))
    first, second, other = Fake(), Fake(knows="en,pt"), Fake(tower="b")
    before = evaluate.run([folder], Options(model="m", k="1"), environment(m=first))["retrieval"]
    decoded: list[Sample] = []
    monkeypatch.setattr(image_vectors, "decode_image", lambda *given: decoded.append(given))
    after = evaluate.run([folder], Options(model="m", k="1"), environment(m=second))["retrieval"]
    assert (first.embedded, second.embedded, decoded) == (8, 0, [])
    assert after[0]["text_to_image"] == before[0]["text_to_image"]
    monkeypatch.undo()
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    evaluate.run([folder], Options(model="m", k="1"), environment(m=other))
    assert other.embedded == 8  # another tower


# --- files ---
def test_tables_go_to_files(shards, tmp_path):
    folder = str(shards([sample(n, "en", "pt") for n in range(4)]))
    files = [tmp_path / f"results.{suffix}" for suffix in ("csv", "md", "tex")]
    options = Options(model="m", k="1", table=",".join(map(str, files)))
    found = evaluate.run([folder], options, environment(m=Fake()))
    with files[0].open(newline="") as lines:
        values = {
            (line["lang"], line["metric"]): float(line["value"])
            for line in csv.DictReader(lines)
            if line["task"] == "retrieval"
        }
    assert values["pt", "mean_recall"] == found["retrieval"][1]["mean_recall"]
    assert "| pt" in files[1].read_text()
    assert "\\toprule" in files[2].read_text()
    with pytest.raises(UsageError, match=r"results\.xls"):
        evaluate.run([folder], Options(model="m", table="results.xls"), environment(m=Fake()))


def test_what_a_run_keeps_of_an_evaluation(shards, here):
    folder = str(shards([sample(n, "en", "pt") for n in range(8)]))
    evaluate.run([folder, "tuned"], Options(model="base", k="1"), models(base=Fake(), tuned=Fake(knows="en,pt")))
    saved = json.loads((here / "tuned" / "eval.json").read_text())
    assert {row["model"] for row in saved["retrieval"]} == {"base", "tuned"}
    shown = json.loads((here / "tuned" / "examples" / "examples.json").read_text())
    assert [(each["lang"], each["models"]) for each in shown["sets"]] == [
        ("en", ["base", "tuned"]), ("pt", ["base", "tuned"]),
    ]  # fmt: skip
    files = {name for each in shown["sets"] for name in each["images"].values()}
    assert {path.name for path in (here / "tuned" / "examples").glob("*.jpg")} == files
    assert len(files) > 2


def test_many_sets_are_one_table_with_their_mean(shards, tmp_path, capsys, monkeypatch):
    names = tmp_path / "names"
    names.write_text("en 0\nen 1\n")
    for name in ("first", "second"):
        shards([sample(n, cls=n) for n in range(2)], name=name)
    monkeypatch.setattr(catalogue, "recognise", lambda path: None)
    monkeypatch.setattr(registry, "names", lambda kind: ["shapes"])
    monkeypatch.setattr(registry, "module", lambda kind, name: Shapes)
    evaluate.run(["shapes", "shapes"], Options(model="m", lang="en"), environment(m=Fake()))
    assert "mean over 2 sets, en, m: 100.00" in capsys.readouterr().err


def test_a_class_that_is_no_number_fails_alone(shards, tmp_path):
    names = tmp_path / "names"
    names.write_text("en 0\nen 1\nen 2\n")
    damaged = sample(2, "en").with_members(json=encode_json({"captions": [], "classes": ["x"]}))
    folder = shards([*(sample(n, "en", cls=n) for n in range(2)), damaged])
    env = environment(m=Fake())
    found = evaluate.run([str(folder)], Options(model="m", lang="en", classes=str(names)), env)
    assert found["classification"][0]["n_images"] == 2
    assert env.tally.dropped == {'json "classes" is not a list of class numbers': 1}
