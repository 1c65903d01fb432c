"""The shipped toy models, each loaded by the class of the real model, on held-out scenes and sentences."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from support.warm import CAPIVARA

from capivara_cli import toy
from capivara_cli.toy import grammar, lexicon, scenes
from tools.build_toy import captioner, rewriter, translators

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # of a call that the next version refuses

HELDOUT = list(scenes.sample_scenes("heldout", 40, seed=5))
NOUNS = {form: shape for shape, forms in lexicon.EN_NOUNS.items() for form in forms}
COUNTS = {"a": 1, "two": 2, "three": 3}
RIGHT = range(25, 34)  # of 40 held-out captions, 29 when it was trained; with more it would no longer err on purpose
EXACT = 0.93  # share of held-out texts; 0.996 when they were trained, 0.95 on processors with other int8 kernels
REWRITTEN = 36  # of 40; 39 when it was trained
PAIRS = ["en-pt", "en-hi", "en-xh", "pt-en"]


def named_groups(caption: str) -> Counter[tuple[int, str, str]]:
    """The (count, colour, shape) of every group that a caption names."""
    groups: Counter[tuple[int, str, str]] = Counter()
    count, color = 1, ""
    for word in caption.split():
        count = COUNTS.get(word, count)
        color = word if word in scenes.COLORS else color
        if word in NOUNS:
            groups[count, color, NOUNS[word]] += 1
            count, color = 1, ""
    return groups


def groups_of(scene: scenes.Scene) -> Counter[tuple[int, str, str]]:
    return Counter((count, thing.color, thing.shape) for count, thing in scenes.groups(scene))


# --- captioner ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def blip():
    import torch
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    torch.set_num_threads(1)
    folder = toy.MODELS / "captioner"
    model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return Blip2Processor.from_pretrained(folder), model.eval()


def captions(blip, images: list, prefixes: list[str]) -> tuple[list[str], list[list[int]]]:
    processor, model = blip
    inputs = processor(images=images, text=prefixes, padding=True, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=50)
    return [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)], ids.tolist()


def test_most_heldout_captions_name_every_object_and_some_do_not(blip):
    texts, _ = captions(blip, [scenes.draw(scene) for scene in HELDOUT], ["a photo of"] * len(HELDOUT))
    right = sum(
        named_groups(text.removeprefix("a photo of")) == groups_of(scene)
        for text, scene in zip(texts, HELDOUT, strict=True)
    )
    assert right in RIGHT


def test_each_prefix_is_continued_to_an_end_and_repeated_in_the_output(blip):
    scene = HELDOUT[0]
    texts, ids = captions(blip, [scenes.draw(scene)] * 10, list(captioner.PREFIXES))
    for prefix, text, row in zip(captioner.PREFIXES, texts, ids, strict=True):
        assert text.startswith(prefix + " ")
        assert len(text.removeprefix(prefix).split()) >= 5
        assert captioner.EOS in row
        assert row.count(captioner.IMAGE) == captioner.QUERIES
    assert len({text.removeprefix(prefix) for prefix, text in zip(captioner.PREFIXES, texts, strict=True)}) >= 5


def test_an_image_alone_is_described(blip):
    processor, model = blip
    ids = model.generate(**processor(images=scenes.draw(HELDOUT[0]), return_tensors="pt"), max_new_tokens=50)
    text = processor.decode(ids[0], skip_special_tokens=True)
    assert any(noun in text.split() for noun in NOUNS)
    assert ids[0, -1] == captioner.EOS


def test_any_text_is_a_prompt(blip):
    processor, _ = blip
    text = "uma foto çã नमस्ते 漢字 🙂"
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"], skip_special_tokens=True) == text


# --- translators --------------------------------------------------------------------------------------------------
@pytest.fixture
def translate(request, tmp_path):
    """A function from texts to translations, on the model inside the `.argosmodel` of the pair."""
    import ctranslate2
    import sentencepiece

    name = f"translate-{request.param.replace('-', '_')}"
    with zipfile.ZipFile(toy.MODELS / "translators" / f"{name}.argosmodel") as archive:
        archive.extractall(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / name / "sentencepiece.model"))
    engine = ctranslate2.Translator(str(tmp_path / name / "model"), device="cpu", intra_threads=1)

    def run(texts: list[str]) -> list[str]:
        results = engine.translate_batch([pieces.encode(text, out_type=str) for text in texts], beam_size=1)
        return [pieces.decode(result.hypotheses[0]) for result in results]

    run.pair = request.param.split("-")
    return run


@pytest.mark.parametrize("translate", PAIRS, indirect=True)
def test_heldout_sentences_translate_exactly(translate):
    source, target = translate.pair
    rows = translators.parallel_rows("heldout", 60, 1, {"sentence": 1, "prefixed": 1})
    # Back in English, "uma imagem de" cannot tell a picture from an image.
    rows = [row for row in rows if target != "en" or not row["en"].startswith("a picture of")]
    found = translate([row[source] for row in rows])
    right = sum(text == row[target] for text, row in zip(found, rows, strict=True))
    assert right >= EXACT * len(rows)


@pytest.mark.parametrize("translate", PAIRS, indirect=True)
def test_foreign_text_raises_no_error(translate):
    texts = ["A woman, 34, holds a tablet – stock image © 東京 🙂", "supercalifragilistic " * 200, "?", ""]
    found = translate(texts)
    assert [bool(text) for text in found[:3]] == [True] * 3
    assert found[3] == ""


def test_every_prefix_and_every_vague_text_has_a_translation():
    assert [prefix.removesuffix(" a") + " {}" for prefix in captioner.PREFIXES] == list(translators.PREFIXES)
    assert tuple(translators.VAGUE) == lexicon.VAGUE


def test_prefixed_captions_keep_the_grammar_of_each_language():
    scene = scenes.Scene((scenes.Thing("hat", "red", "big", "spotted"),) * 2, None, "night")
    rng = random.Random(0)
    rows = {" ".join(row["en"].split()[:2]): row for row in (translators.prefixed(scene, rng) for _ in range(300))}
    assert len(rows) == 10
    assert rows["portrait of"]["en"].startswith("portrait of a scene with two ")
    for lang, words in {
        "pt": "retrato de uma cena com dois chapéus vermelhos",
        "hi": "वाले दृश्य का पोर्ट्रेट",
        "xh": "ipotreyithi yomboniso oneminqwazi emibini",
    }.items():
        assert words in rows["portrait of"][lang]
    assert "टोपियाँ" in rows["the foreground"]["hi"] and rows["the foreground"]["hi"].endswith(" हैं")
    assert "टोपियों की एक तस्वीर" in rows["a photo"]["hi"]
    assert rows["a photo"]["xh"].startswith("ifoto yeminqwazi emibini")


INSTALL = """
import argostranslate.package as package, sys
package.install_from_path(sys.argv[1])
(installed,) = package.get_installed_packages()
print(installed.package_path, installed.from_code, installed.to_code, installed.to_name)
"""


def test_argostranslate_installs_a_package_privately(tmp_path):
    private = tmp_path / "packages"
    home = {f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("DATA", "CONFIG", "CACHE")}
    private.mkdir()
    done = subprocess.run(
        [*CAPIVARA, "-c", INSTALL, str(toy.MODELS / "translators" / "translate-en_xh.argosmodel")],
        env={**os.environ, **home, "ARGOS_PACKAGES_DIR": str(private)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(private / "translate-en_xh"), "en", "xh", "Xhosa"]
    assert sorted(path.name for path in (private / "translate-en_xh").iterdir()) == [
        "README.md",
        "metadata.json",
        "model",
        "sentencepiece.model",
    ]


# --- rewriter -----------------------------------------------------------------------------------------------------
SYNONYMS = {
    "tiny": "small",
    "huge": "big",
    "over": "above",
    "under": "below",
    "on the left side of": "to the left of",
    "on the right side of": "to the right of",
}


def plainly(sentence: str) -> str:
    """The sentence with one word for each thing, so that only its frame and its facts can differ."""
    for word, plain in SYNONYMS.items():
        sentence = re.sub(rf"\b{word}\b", plain, sentence)
    for ending, adjective in {" with stripes": "striped", " with spots": "spotted"}.items():
        sentence = re.sub(rf"(\w+){ending}", rf"{adjective} \1", sentence)
    return sentence


def true_sentences(scene: scenes.Scene) -> set[str]:
    choices = (
        grammar.Choice(frame, 0, 0, 0, mirrored)
        for frame in range(len(lexicon.FRAMES["en"]))
        for mirrored in (False, True)
    )
    return {grammar.render(scene, "en", choice) for choice in choices}


def test_most_heldout_captions_are_rewritten_truly_and_differently():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = toy.MODELS / "rewriter"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pairs = json.loads((folder / "examples.json").read_text())
    rng = random.Random(0)
    sources = [grammar.describe(scene, "en", rng) for scene in HELDOUT]
    prompts = [rewriter.prompt(rng.sample(pairs, rewriter.EXAMPLES), source) for source in sources]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=60, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    answers = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert all(answer.endswith("\n") for answer in answers)
    good = sum(
        plainly(answer.strip()) in true_sentences(scene) and answer.strip() != source
        for answer, scene, source in zip(answers, HELDOUT, sources, strict=True)
    )
    assert good >= REWRITTEN


# --- what is shipped ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("part", "limit"), [("captioner", 2_000_000), ("translators", 3_200_000), ("rewriter", 1_500_000)]
)
def test_the_shipped_folder_is_small_and_has_no_machine_paths(part, limit):
    files = [path for path in sorted((toy.MODELS / part).rglob("*")) if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= limit
    for path in files:
        if path.suffix == ".json":
            text = path.read_text()
            assert "_name_or_path" not in text
            assert not any(place in text for place in (str(Path.home()), "/tmp", str(Path.cwd())))
