"""Scenes of the toy world with noisy English alt texts: toy, or toy:COUNT."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.toy import grammar, scenes

DEFAULT_SCENES = 1000


def recognise(path: Path) -> bool:
    """Whether the path is ``toy`` or ``toy:COUNT`` and no such file exists."""
    return path.name.partition(":")[0] == "toy" and not path.exists()


def read(path: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per scene of the train split: a PNG, and a caption that is correct in about half of them.

    Raises ``CapivaraError`` if COUNT is not a number above 0.
    """
    count = path.name.partition(":")[2] or str(DEFAULT_SCENES)
    if not count.isdecimal() or not int(count):
        raise CapivaraError(f"{path}: {count!r} is not a number of scenes", "for example toy:1000")
    for index, scene in enumerate(scenes.sample_scenes("train", int(count), env.seed)):
        env.tally.read += 1
        picture = io.BytesIO()
        scenes.draw(scene, seed=index).save(picture, "PNG")
        text = grammar.alt_text(scene, random.Random(f"alt-{env.seed}-{index}"))
        document = {"captions": [Caption(text, "en", "alt").to_json()], "scene": scenes.canonical(scene)}
        yield Sample(f"toy-{index:06d}", {"png": picture.getvalue(), "json": encode_json(document)})
