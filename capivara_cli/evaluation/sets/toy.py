"""Held-out scenes of the toy world with clean captions in en, pt, hi and xh, and ten classes; drawn, not downloaded."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.toy import grammar, scenes

DEFAULT_SCENES = 300
MAX_SCENES = 20_000

_SPLITS = {"test": "heldout", "heldout": "heldout", "val": "val", "train": "train"}


def languages(variant: str) -> tuple[str, ...]:
    return tuple(grammar.LANGUAGES)


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The scenes of a split ("test" or "heldout", "val", "train"), with one caption each; ``variant`` is their number.

    The captions in the four languages are translations of each other. The class of a scene with one kind of thing is
    its shape; other scenes have no class.
    """
    if split not in _SPLITS:
        raise unknown("split of toy", split, _SPLITS)
    if lang not in languages(variant):
        raise unknown("language in toy", lang, languages(variant))
    if variant and (not variant.isdecimal() or not 2 <= int(variant) <= MAX_SCENES):
        raise CapivaraError(f"toy:{variant}: not a number of scenes from 2 to {MAX_SCENES:,}")
    count = int(variant or DEFAULT_SCENES)
    return EvalSet(
        name=f"toy:{count}" if variant else "toy",
        lang=lang,
        samples=_samples(_SPLITS[split], count, lang, env),
        provenance=Provenance("the toy world of capivara (drawn, not photos)", "MIT", _SPLITS[split], by="grammar"),
        classes=tuple(grammar.CLASS_NAMES[lang][shape] for shape in scenes.SHAPES),
        templates=tuple(grammar.TEMPLATES[lang]),
        names_by="grammar",
    )


def _samples(split: str, count: int, lang: str, env: Env) -> Iterator[Sample]:
    drawn = env.once(("toy scenes", split, count), dict)  # drawn once for all languages
    for index, scene in enumerate(_scenes(split, count)):
        if index not in drawn:
            drawn[index] = _png(scene)
        text = grammar.parallel(scene, random.Random(f"eval-{split}-{index}"))[lang]
        members = {"png": drawn[index]}
        if len(scenes.groups(scene)) == 1:
            members["cls"] = str(scenes.SHAPES.index(scene.things[0].shape)).encode()
        caption = Caption(text, lang, "grammar").to_json()
        members["json"] = encode_json({"captions": [caption], "scene": scenes.canonical(scene)})
        yield Sample(f"toy-{split}-{index:05d}", members)


def _scenes(split: str, count: int) -> Iterator[scenes.Scene]:
    """The scenes of a split. Those of "val" are held out from training, and none of them is in the test split."""
    if split != "val":
        yield from scenes.sample_scenes(split, count)
        return
    tested = set(scenes.sample_scenes("heldout", DEFAULT_SCENES))
    drawn = scenes.sample_scenes("heldout", count + DEFAULT_SCENES, seed=1)
    yield from itertools.islice((scene for scene in drawn if scene not in tested), count)


def _png(scene: scenes.Scene) -> bytes:
    out = io.BytesIO()
    scenes.draw(scene).save(out, "PNG")
    return out.getvalue()
