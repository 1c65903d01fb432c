"""Recipes: what is in each, every one run in miniature with small models of the same classes, and what is refused."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from support import variants
from support.made import shard_bytes

from capivara_cli import registry
from capivara_cli.cli.perform import Performer
from capivara_cli.commands.adapt import Options, adapt, chosen_recipe
from capivara_cli.commands.recipes import recipe as recipes
from capivara_cli.commands.recipes.script import Script
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.toy import grammar, scenes

SMALL: dict[str, dict[str, Any]] = {
    "caption": {"captioner": "toy", "n": 1},
    "rewrite": {"rewriter": "toy"},
    "translate": {"translator": "toy"},
    "filter": {},
    "dedupe": {},
}
"""What of each step is made smaller; the classes of the models stay the same."""
RUN = {"model": "toy", "steps": 2, "batch_size": 6, "eval": "toy:12"}
OTHERWISE = {
    "laclip-eda": ("eda", "rewrite.n=2"),
    "laclip-back-translation": ("back-translation", "rewrite.n=1 rewrite.via=pt rewrite.translator=toy"),
}
"""Rewriters that are no model, and which languages the toy translators have."""
AUTHORS = {
    "routine-native": {"human"},
    "routine-mt-source": {"human"},  # what is translated is aligned with, not trained on with images
    "routine-mt-pivot": {"toy:pt-en"},
}
"""Whose captions are trained on with images."""


def people_and_alt_texts(count: int) -> list[Sample]:
    """Drawn scenes with a caption in English and in Portuguese, as by people."""
    samples = []
    for index, scene in enumerate(scenes.sample_scenes("train", count, 5)):
        picture = io.BytesIO()
        scenes.draw(scene, seed=index).save(picture, "PNG")
        said = grammar.parallel(scene, random.Random(index))
        captions = [Caption(said[lang], lang, "human").to_json() for lang in ("en", "pt")]
        samples.append(Sample(f"{index:04d}", {"png": picture.getvalue(), "json": encode_json({"captions": captions})}))
    return samples


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    (folder / "00000.tar").write_bytes(shard_bytes(people_and_alt_texts(24)))
    return folder


def small(name: str) -> Options:
    """The options of ``capivara adapt`` that make a recipe a matter of seconds."""
    found = recipes.load(name)
    given: dict[str, Any] = {}
    for part in found.plan:
        given |= SMALL[part.command]
    more = ["eval.translator=toy", "train.checkpoint-every=0"]
    if name in OTHERWISE:
        given["rewriter"], extra = OTHERWISE[name]
        more.append(extra)
    elif any(part.command == "rewrite" for part in found.plan):
        more.append("rewrite.n=1")
    if "shots" in found.train.given:
        more.append("train.shots=8 train.val=4 train.val-every=1")
    lang = found.head.lang if found.head.lang in ("pt", "hi", "xh") else "pt"
    return Options(recipe=name, lang=lang, set=" ".join(more), **given, **RUN)  # type: ignore[arg-type]


def run(options: Options, data: Path, runs: Path) -> dict[str, Any]:
    return adapt.run([str(data)], options, Performer().env(Settings(energy=False, quiet=True, out=str(runs)), "adapt"))


def asked(folder: str) -> dict[str, Any]:
    document = json.loads((Path(folder) / "run.json").read_text())
    assert document["finished"]
    return {**document["request"], "authors": {author for _, author, _ in document["data"]["authors"]}}


OF_ANOTHER_LANGUAGE = {"capivara-opt-hi", "capivara-opt-xh"}  # otherwise as for Portuguese


@pytest.mark.parametrize(
    "name",
    variants.some([each for each in registry.recipes() if variants.ALL or each not in OF_ANOTHER_LANGUAGE], 4),
)
def test_a_recipe_runs_in_miniature(name: str, data: Path, tmp_path: Path) -> None:
    options = small(name)
    found = run(options, data, tmp_path)
    request = asked(found["run"])
    made_smaller = {"steps", "batch-size", "shots", "val", "val-every"}
    for key, value in recipes.load(name).train.given.items():
        if key not in made_smaller:
            expected = ",".join(value) if isinstance(value, list) else value
            assert request[key.replace("-", "_")] == expected, key
    assert request["authors"] == AUTHORS.get(name, request["authors"])
    assert (request["lang"], request["model"], request["steps"]) == (options.lang, "toy", 2)
    assert [row["lang"] for row in found["before_and_after"]] == ["en", options.lang]


def test_an_adapter_takes_the_place_of_lora(data: Path, tmp_path: Path) -> None:
    options = small("routine-native")
    adapter = Options(**{**vars(options), "set": f"{options.set} train.peft=adapter train.adapter-dim=4"})
    found = run(adapter, data, tmp_path)
    assert (asked(found["run"])["peft"], asked(found["run"])["adapter_dim"]) == ("adapter", 4)


def test_the_settings_are_the_papers() -> None:
    capivara = recipes.load("capivara").train.given
    assert capivara["steps"] * capivara["batch-size"] == 16_510_208  # 2816 × 5863
    assert (capivara["peft"], capivara["lr"], capivara["min-lr"], capivara["warmup"]) == ("lit", 5e-7, 1e-7, 500)
    for code in ("pt", "hi", "xh"):
        found = recipes.load(f"capivara-opt-{code}")
        assert found.head.lang == code
        opt = found.train.given
        assert (opt["steps"], opt["batch-size"], opt["lr"], opt["min-lr"]) == (1500, 1000, 1e-5, 1e-6)
        assert (opt["lora-r"], opt["lora-alpha"], opt["lora-targets"]) == (8, 8, ["query", "value"])
        assert (opt["projection"], opt["warmup"], opt["weight-decay"]) == (True, 250, 0.2)
        assert found.plan[0].given == {"captioner": "blip2:Salesforce/blip2-opt-2.7b-coco", "n": 10}
    for routine in ("native", "mt-source", "mt-pivot"):
        found = recipes.load(f"routine-{routine}")
        given = found.train.given
        assert (given["align"], given["align-anchor"], given["temperature"]) == (routine, "live", 0.01)
        assert (given["shots"], given["steps"], given["batch-size"], given["lora-alpha"]) == (50, 500, 5, 16)
    rewrite = recipes.load("laclip-rewrites").plan[0].given
    assert [rewrite[key] for key in ("n", "shots", "temperature", "top-p", "max-tokens")] == [4, 3, 0.9, 0.95, 77]
    assert recipes.load("laclip-multi-text").train.given == {"text-sampling": "all"}


def lines(recipe: recipes.Recipe) -> list[str]:
    script = Script(recipe, ["shards.tar"], "x", "runs", 0)
    return [" ".join(words) for words in script.lines()]


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'lang = "ca"\nmodel = "toy"\nseeds = 2\n'
        '[[plan]]\nstep = "filter"\nmodel = "{model}"\nmin-score = 0.2\nlevel = "image"\n'
        '[[plan]]\nstep = "translate"\nlang = ["{lang}", "es"]\ntranslator = "apertium"\n'
        '[[plan]]\nstep = "filter"\nscore = false\ntop-k = 1\n'
        '[train]\nlora-r = 4\nlearn-temperature = false\n[eval]\ntargets = ["heldout", "flickr30k"]\nlang = "ca"\n'
    )
    split = "split --part {} --fraction 0.1"
    translate = "translate --lang ca,es --translator apertium"
    plan = f"filter --model toy --min-score 0.2 --level image | {translate} | filter --no-score --top-k 1"
    train = "train runs/x-data/train --lang ca --model toy --lora-r 4 --no-learn-temperature"
    assert lines(recipes.load(str(file))) == [
        f"run {split.format('heldout')} | {translate} shards.tar --out runs/x-data/heldout",
        f"run {split.format('train')} | {plan} shards.tar --out runs/x-data/train",
        f"{train} --name x-seed0 --runs runs --seed 0",
        f"{train} --name x-seed1 --runs runs --seed 1",
        "eval runs/x-seed0 runs/x-seed1 runs/x-data/heldout flickr30k --model toy --lang ca",
    ]


def test_the_command_line_goes_before_the_recipe() -> None:
    options = Options(recipe="capivara", lang="hi", n=3, lr=0.001, eval="xtd", set="train.peft=full caption.beams=2")
    found = chosen_recipe(options)
    assert found.head.lang == "hi"
    assert found.plan[0].given == {"captioner": "blip2:Salesforce/blip2-opt-2.7b-coco", "n": 3, "beams": "2"}
    assert (found.train.given["lr"], found.train.given["peft"], found.targets) == (0.001, "full", ("xtd",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lang = ", "mine.toml: not TOML"),
        ('langs = "pt"', r"mine\.toml: langs: there is no such option at the top of a recipe — did you mean lang\?"),
        ("lang = 3", r"mine\.toml: lang = 3: must be a text"),
        ("seeds = 0", r"mine\.toml: seeds 0: must be at least 1"),
        ('input = "photos"', r"mine\.toml: input = 'photos': must be a list of texts"),
        ("[plan]", r"mine\.toml: plan: must be a \[\[plan\]\] table for each step"),
        ("train = 3", r"mine\.toml: train and eval must be tables"),
        ("[[plan]]\nn = 3", r"mine\.toml: \[\[plan\]\] 1: step is missing: which stage\?"),
        (
            '[[plan]]\nstep = "captoin"',
            r"mine\.toml: \[\[plan\]\] 1: step: there is no command .* did you mean caption",
        ),
        (
            '[[plan]]\nstep = "eval"',
            r"mine\.toml: \[\[plan\]\] 1: step = 'eval': not a step of a plan: it does not read",
        ),
        ('[[plan]]\nstep = "pack"', "adapt packs the images itself"),
        (
            '[[plan]]\nstep = "dedupe"\n[[plan]]\nstep = "caption"\ncaptoiner = "x"',
            r"mine\.toml: \[\[plan\]\] 2, caption: captoiner: there is no such option .* did you mean captioner\?",
        ),
        ('[[plan]]\nstep = "caption"\nn = "many"', r"mine\.toml: caption: Invalid value for '--n': "),
        (
            '[[plan]]\nstep = "caption"\nn = true',
            r"mine\.toml: \[\[plan\]\] 1, caption: n = True: must be a text, a num",
        ),
        ('[[plan]]\nstep = "caption"\nclean = "no"', r"clean = 'no': must be true or false"),
        ('[[plan]]\nstep = "caption"\nn = 0', r"mine\.toml: caption: --n 0: must be at least 1"),
        (
            "[train]\nsteps = 1\nstep = 2",
            r"mine\.toml: \[train\]: step: there is no such option .* did you mean steps\?",
        ),
        ('[train]\nlang = "pt"', r"mine\.toml: \[train\]: lang cannot be set here"),
        ('[train]\npeft = "lor"', r"mine\.toml: train: Invalid value for '--peft': .*'lor' is not one of"),
        ("[eval]\ntargets = 5", r"mine\.toml: \[eval\]: targets = 5: must be a list of texts"),
        ("[eval]\ntargets = 'toy,,xtd'", r"mine\.toml: \[eval\]: targets: a name is empty"),
        ("[eval]\ntarget = 'toy'", r"mine\.toml: \[eval\]: target: there is no such option .* did you mean targets\?"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_said_with_file_and_key(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(CapivaraError, match=message):
        recipes.load(str(tmp_path / "mine.toml"))


def test_names_of_recipes() -> None:
    with pytest.raises(CapivaraError, match=r"there is no recipe 'capivar'; .* did you mean capivara\?"):
        recipes.load("capivar")
    with pytest.raises(CapivaraError, match=r"nowhere\.toml: no such file"):
        recipes.load("nowhere.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "routine-native", "captioner": "toy"}, "--captioner: recipe routine-native has no caption"),
        (
            {"set": "train.lora=8"},
            "--set train.lora: lora: there is no such option of capivara train — did you mean lo",
        ),
        ({"set": "train.projection=maybe"}, "--set train.projection=maybe: must be true or false"),
        ({"set": "eval.targets=,"}, "--set eval.targets: a name is empty"),
        ({"set": "train"}, "--set train: not STEP.OPTION=VALUE"),
        ({"set": "train.lang=pt"}, "--set train.lang: lang cannot be set here"),
        ({"set": 'x.y="'}, """--set: 'x.y="': No closing quotation"""),
    ],
)
def test_what_the_command_line_cannot_change_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_recipe(Options(lang="pt", **options))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "xlm-roberta-bas-ViT-B-32"}, "did you mean xlm-roberta-base-ViT-B-32"),
        ({"model": "ViT-B-32"}, "--model ViT-B-32 needs --pretrained"),
        ({"captioner": "tyo"}, "there is no captioner 'tyo'"),
        ({"translator": "apertum"}, "there is no translator 'apertum'"),
        ({"lang": "es"}, "no translator from en to es"),
        ({"lang": "portugese"}, "there is no language 'portugese'"),
        ({"eval": "flickr31k"}, "did you mean flickr30k?"),
        ({"eval": "heldout,toys"}, "did you mean toy?"),
        ({"set": "train.objective=clop"}, "--objective clop"),
        ({"set": "train.patience=3"}, "--patience needs --val"),
        ({"set": "filter.rules=lenght"}, "--rules: there is no rule 'lenght'"),
        ({"set": "caption.beams=x"}, "caption: Invalid value for '--beams'"),
        ({"recipe": "laclip-eda", "rewriter": "edda"}, "there is no rewriter 'edda'"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(
    options: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    toys = {} if options.get("recipe") else {"captioner": "toy"}
    given = {"lang": "pt", "model": "toy", "translator": "toy", "eval": "toy", **toys, **options}
    with pytest.raises(CapivaraError) as caught:
        run(Options(**given), data, tmp_path / "runs")
    assert message in caught.value.message
    assert not (tmp_path / "runs").exists()
