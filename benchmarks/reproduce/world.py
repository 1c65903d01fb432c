"""The data of one seed: drawn scenes, captions of every kind made by the package's stages, and scenes to test on."""

from __future__ import annotations

import functools
import io
import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reproduce import towers
from benchmarks.reproduce.plan import KEPT_IN, LANGUAGES, PREFIXES, Captions
from capivara_cli.cli.perform import Performer
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.archive import ShardWriter, open_shard
from capivara_cli.shards.embedding import with_embedding
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.storage.files import replace_text, replacing
from capivara_cli.toy import grammar, lexicon, scenes

SELECTED_ON = 300
"""The toy model and the demo's recipe were chosen on the first so many held-out scenes: they are not tested on."""
CLASSES = tuple(itertools.product(scenes.COLORS, scenes.BACKGROUNDS))
"""Colours by places: of shapes, the toy model tells hardly more than chance, in any language."""
PROMPTS = 12
"""Sentences that a class is the mean of."""


@dataclass(frozen=True)
class Size:
    """How much of a world there is: ``many`` scenes for the learning curve, ``tested`` to score on.

    ``training``: options of ``capivara train`` that replace the plan's defaults.
    """

    scenes: int = 1000
    many: int = 3000
    tested: int = 500
    synthetic: int = PREFIXES
    training: tuple[tuple[str, int], ...] = ()


REDUCED = Size(scenes=120, many=0, tested=120, synthetic=1, training=(("steps", 45), ("batch_size", 40)))


@dataclass(frozen=True)
class World:
    """The folder of one seed."""

    root: Path
    seed: int
    size: Size

    @property
    def folder(self) -> Path:
        return self.root / f"seed{self.seed}"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def source(self, name: str) -> Path:
        return self.folder / name

    def data(self, name: str) -> Path:
        return self.folder / "data" / name


# --- scenes and captions ---
def make(world: World, sources: Iterable[str]) -> None:
    """Make the folders of captions that are wanted: world, rewritten, direct, many. What is there stays."""
    wanted = set(sources)
    _draw(world, world.source("drawn"), world.size.scenes)
    if wanted & {"world", "direct"}:
        caption = f"caption --captioner toy --n {world.size.synthetic}"
        there = f"translate --translator toy --lang {','.join(LANGUAGES)} --no-cache"
        back = "translate --translator toy --from pt --lang en --only original --no-cache"
        _run(
            world, f"{caption} | {there} | {back} | filter --model toy --lang en,{','.join(KEPT_IN)}", "drawn", "world"
        )
    if "rewritten" in wanted:
        synonyms = world.folder / "synonyms.tsv"
        replace_text(synonyms, _synonyms())
        _write(world.source("human"), (_only_human(each) for each in _read(world.source("drawn"))))
        rewrite = (
            "rewrite --rewriter toy --n 4",
            f"rewrite --rewriter eda --n 4 --synonyms '{synonyms}'",
            "rewrite --rewriter back-translation --via pt --translator toy --no-cache",
            "translate --translator toy --lang pt --no-cache",
        )
        _run(world, " | ".join(rewrite), "human", "rewritten")
    if "direct" in wanted:
        folder = world.root / towers.CAPTIONER
        caption = (
            f"caption --captioner 'blip2:{folder / 'captioner'}' --lang pt --prefixes '{folder / 'prefixes'}' --n 4"
        )
        _run(world, caption, "world", "direct")
    if "many" in wanted:
        _draw(world, world.source("many"), world.size.many)


def _run(world: World, plan: str, start: str, end: str) -> None:
    if (world.source(end) / "00000.tar").is_file():  # a shard has its name when it is whole
        return
    settings = Settings(seed=world.seed, quiet=True, device="cpu", energy=False)
    Performer().line(["run", plan, str(world.source(start)), "--out", str(world.source(end))], settings)


def _draw(world: World, folder: Path, count: int) -> None:
    """Scenes with noisy English, clean English, and in each language a clean caption that is nobody's translation."""

    def samples() -> Iterable[Sample]:
        clip = toy()
        for index, scene in enumerate(scenes.sample_scenes("train", count, world.seed)):
            picture, image = io.BytesIO(), scenes.draw(scene, seed=index)
            image.save(picture, "PNG")
            identity = f"reproduce-{world.seed}-{index}"
            captions = [Caption(grammar.alt_text(scene, random.Random(f"{identity}-alt")), "en", "alt")]
            captions += [
                Caption(grammar.describe(scene, lang, random.Random(f"{identity}-{lang}")), lang, "human")
                for lang in grammar.LANGUAGES
            ]
            document = encode_json({"captions": [each.to_json() for each in captions]})
            sample = Sample(f"{index:06d}", {"png": picture.getvalue(), "json": document})
            vector = clip.embed_images([clip.preprocess(image)])[0].astype(np.float16)
            yield with_embedding(sample, vector, clip.identity)

    _write(folder, samples())


def _write(folder: Path, samples: Iterable[Sample]) -> None:
    shard = folder / "00000.tar"
    if shard.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(shard) as out:
        writer = ShardWriter(out, [])
        for sample in samples:
            writer.write(sample)
        writer.finish()


def _read(folder: Path) -> Iterable[Sample]:
    for shard in find_shards([str(folder)]):
        with open_shard(shard) as samples:
            yield from samples


def _only_human(sample: Sample) -> Sample:
    return sample.with_captions(each for each in sample.captions if each.by == "human" and each.lang == "en")


def _synonyms() -> str:
    """The grammar's own synonyms of one word, as a file for EDA."""
    pairs = [*lexicon.EN_SIZES.values(), *lexicon.RELATIONS["en"].values()]
    pairs = [pair for pair in pairs if not any(" " in word for word in pair)]
    return "".join(f"{one}\t{other}\n{other}\t{one}\n" for one, other in pairs)


@functools.cache
def toy() -> Any:
    """The toy CLIP, as it is: never to be trained."""
    from capivara_cli.models.clip import load_clip

    return load_clip("toy")


# --- what of them is trained on ---
def choose(world: World, name: str, wanted: Captions) -> None:
    """The shards of one choice of captions, in ``world.data(name)``."""
    folder = world.data(name)
    chosen = folder.with_name(f"{name}-chosen") if wanted.plan else folder
    samples = list(_read(world.source(wanted.source)))
    picked = [sample.with_captions(_picked(sample.captions, wanted)) for sample in samples]
    _write(chosen, picked)
    if wanted.plan:
        plan = wanted.plan.format(cut=_cut(picked))
        settings = Settings(seed=world.seed, quiet=True, device="cpu", energy=False)
        Performer().line(["run", plan, str(chosen), "--out", str(folder)], settings)


def _picked(captions: Sequence[Caption], wanted: Captions) -> list[Caption]:
    native = [each for each in captions if each.lang in LANGUAGES and each.by == "human"]
    english = [each for each in captions if each.lang == "en" and each.of is None and _is_wanted(each, wanted)]
    if wanted.back:
        said = {each.text for each in native}
        english += [each for each in captions if each.lang == "en" and each.of in said]
    synthetic = [each for each in captions if each.lang == "en" and each.prefix is not None]
    english += synthetic[: wanted.synthetic]
    maker, count = wanted.rewrites
    english += [each for each in captions if each.lang == "en" and _rewritten_by(each, maker)][:count]
    texts = {each.text for each in english}
    found = list(english)
    if wanted.translated:
        found += [each for each in captions if each.lang in LANGUAGES and each.of in texts]
    if wanted.native:
        found += native
    if wanted.direct:
        found += [each for each in captions if each.lang == "pt" and each.prefix is not None]
    return found


def _is_wanted(caption: Caption, wanted: Captions) -> bool:
    return (wanted.alt and caption.by == "alt") or (wanted.human and caption.by == "human")


def _rewritten_by(caption: Caption, maker: str) -> bool:
    return bool(maker) and caption.by == maker


def _cut(samples: Sequence[Sample]) -> float:
    """The score that a fifth of the Portuguese captions are below, as a fifth of the paper's are below 0.15."""
    scores = [each.score for sample in samples for each in sample.captions if each.lang == "pt"]
    return round(float(np.quantile([score for score in scores if score is not None], 0.2)), 4)


# --- what is tested on ---
@dataclass(frozen=True)
class Test:
    """Held-out scenes: ``texts`` by key, each in the order of ``images``; the classes of scenes of one kind."""

    images: np.ndarray
    texts: dict[str, list[str]]
    classed: list[int]
    classes: list[int]


def make_test(world: World) -> None:
    """Draw them and translate their captions; kept in the world's folder."""
    path = world.folder / "test.npz"
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = list(_heldout(world))
    images = np.stack([np.asarray(scenes.draw(scene, seed=1000 + world.seed)) for scene in drawn])
    texts = {
        lang: [
            grammar.describe(scene, lang, random.Random(f"test-{world.seed}-{index}-{lang}"))
            for index, scene in enumerate(drawn)
        ]
        for lang in grammar.LANGUAGES
    }
    texts["pt-mt"] = _translated(texts["en"], "en", "pt")
    texts["pt-to-en"] = _translated(texts["pt"], "pt", "en")
    classed = [index for index, scene in enumerate(drawn) if len(scenes.groups(scene)) == 1]
    classes = [CLASSES.index((drawn[index].things[0].color, drawn[index].background)) for index in classed]
    document = json.dumps({"texts": texts, "classed": classed, "classes": classes}, ensure_ascii=False)
    with replacing(path) as out:
        np.savez_compressed(out, images=images, document=np.frombuffer(document.encode(), np.uint8))


def _heldout(world: World) -> Iterable[scenes.Scene]:
    """Scenes of each seed's own."""
    apart = set(scenes.sample_scenes("heldout", SELECTED_ON))
    drawn = scenes.sample_scenes("heldout", world.size.tested + len(apart), seed=100 + world.seed)
    yield from itertools.islice((scene for scene in drawn if scene not in apart), world.size.tested)


def _translated(texts: Sequence[str], source: str, target: str) -> list[str]:
    from capivara_cli import registry
    from capivara_cli.models.generation import Decoding, Setup

    setup = Setup("cpu", Decoding(beams=0))
    translator: Any = registry.load("translators", "toy", source=source, target=target, setup=setup)
    return [str(text) for text in translator(list(texts))]


@functools.cache
def read_test(folder: Path) -> Test:
    with np.load(folder / "test.npz") as arrays:
        document = json.loads(arrays["document"].tobytes())
        return Test(arrays["images"], document["texts"], document["classed"], document["classes"])


@functools.cache
def prompts(lang: str) -> list[str]:
    """``PROMPTS`` sentences of each class, that differ in everything else."""
    found = []
    for color, place in CLASSES:
        chance = random.Random(f"prompts-{color}-{place}")
        for _ in range(PROMPTS):
            thing = scenes.Thing(
                chance.choice(scenes.SHAPES), color, chance.choice(list(scenes.SIZES)), chance.choice(scenes.PATTERNS)
            )
            scene = scenes.Scene((thing,) * chance.randint(1, 3), None, place)
            found.append(grammar.describe(scene, lang, chance))
    return found
