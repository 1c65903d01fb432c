"""Seeded symbolic scenes and their drawings.

A scene has one to three things on a background. Equal things form one counted group, so a scene has one group ("three
small red boats") or two groups in a relation ("a big hat above two green trees"). All randomness comes from
`random.Random` and sha256, so scenes and drawings are equal in every process and on every platform.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

SHAPES = ("ball", "box", "star", "heart", "boat", "tree", "house", "fish", "hat", "leaf")
COLORS = {  # RGB
    "red": (214, 40, 40),
    "blue": (40, 84, 204),
    "green": (24, 128, 48),
    "yellow": (248, 208, 24),
    "white": (250, 250, 250),
    "black": (24, 24, 24),
}
SIZES = {"small": 0.095, "big": 0.165}  # radius as a share of the image side
PATTERNS = ("plain", "striped", "spotted")
RELATIONS = ("left", "above")  # "right" and "below" describe the same pictures in the other order
BACKGROUNDS = {  # RGB above and below the horizon
    "grass": ((150, 206, 240), (112, 190, 90)),
    "sand": ((166, 220, 236), (232, 206, 150)),
    "snow": ((196, 204, 216), (236, 240, 246)),
    "night": ((28, 30, 72), (52, 48, 84)),
}
SPLITS = ("train", "heldout")
HELDOUT_SHARE = 0.1

# Group sizes and their weights: a third of the scenes have one group, the others two.
_GROUP_SIZES = {(1,): 18, (2,): 9, (3,): 6, (1, 1): 40, (2, 1): 13, (1, 2): 14}

_STAR = (0, -1.1, 0.28, -0.36, 1.05, -0.34, 0.45, 0.15, 0.65, 0.9,
         0, 0.48, -0.65, 0.9, -0.45, 0.15, -1.05, -0.34, -0.28, -0.36)  # fmt: skip
_HEART = (0, 1, -0.95, 0, -1.02, -0.45, -0.75, -0.85, -0.35, -0.85,
          0, -0.4, 0.35, -0.85, 0.75, -0.85, 1.02, -0.45, 0.95, 0)  # fmt: skip

# Outlines in a square from -1 to 1, y downwards. Parts are painted in order.
_PARTS: dict[str, tuple[tuple[str, tuple[float, ...]], ...]] = {
    "ball": (("ellipse", (-1, -1, 1, 1)),),
    "box": (("polygon", (-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9)),),
    "star": (("polygon", _STAR),),
    "heart": (("polygon", _HEART),),
    "boat": (
        ("polygon", (-1.15, 0.3, 1.15, 0.3, 0.65, 0.95, -0.65, 0.95)),
        ("polygon", (-0.1, -1.05, 0.85, 0.15, -0.1, 0.15)),
    ),
    "tree": (("polygon", (-0.2, 0.4, 0.2, 0.4, 0.2, 1.05, -0.2, 1.05)), ("polygon", (0, -1.1, 0.9, 0.5, -0.9, 0.5))),
    "house": (("polygon", (0, -1.1, 1.05, -0.15, 0.75, -0.15, 0.75, 0.95, -0.75, 0.95, -0.75, -0.15, -1.05, -0.15)),),
    "fish": (("polygon", (0.3, 0, 1.15, -0.7, 1.15, 0.7)), ("ellipse", (-1.15, -0.62, 0.65, 0.62))),
    "hat": (("polygon", (-0.55, -0.8, 0.55, -0.8, 0.65, 0.5, -0.65, 0.5)), ("ellipse", (-1.2, 0.25, 1.2, 0.8))),
    "leaf": (("polygon", (0.9, -1.05, 0.95, 0, 0.4, 0.7, -0.35, 0.75, -1, 1.05, -0.75, 0.3, -0.65, -0.4, 0, -0.95)),),
}
_SCALE = 4  # drawings are this much larger and then averaged: smooth edges with integer arithmetic only


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: names from `SHAPES`, `COLORS`, `SIZES` and `PATTERNS`."""

    shape: str
    color: str
    size: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One to three things. `relation`, of `RELATIONS`, is that of the first group to the second; None for one group."""

    things: tuple[Thing, ...]
    relation: str | None
    background: str


def groups(scene: Scene) -> tuple[tuple[int, Thing], ...]:
    """The groups of equal things, as one or two pairs (count, thing)."""
    return tuple((len(list(same)), thing) for thing, same in groupby(scene.things))


def canonical(scene: Scene) -> str:
    """The unique text form of a scene, such as `2 big red plain ball|left|1 small blue striped hat|grass`."""
    parts = [f"{count} {t.size} {t.color} {t.pattern} {t.shape}" for count, t in groups(scene)]
    return "|".join([f"|{scene.relation}|".join(parts), scene.background])


def split_of(scene: Scene) -> str:
    """The split of a scene. It depends only on a hash of its text form, so the splits cannot overlap."""
    first = int.from_bytes(hashlib.sha256(canonical(scene).encode()).digest()[:4], "big")
    return "heldout" if first < HELDOUT_SHARE * 2**32 else "train"


def random_scene(rng: random.Random) -> Scene:
    """A scene of either split, drawn from `rng`."""
    sizes = rng.choices(list(_GROUP_SIZES), weights=list(_GROUP_SIZES.values()))[0]
    kinds: list[Thing] = []
    while len(kinds) < len(sizes):
        thing = Thing(rng.choice(SHAPES), rng.choice(list(COLORS)), rng.choice(list(SIZES)), rng.choice(PATTERNS))
        if thing not in kinds:
            kinds.append(thing)
    relation = rng.choice(RELATIONS) if len(kinds) == 2 else None
    things = tuple(thing for thing, count in zip(kinds, sizes, strict=True) for _ in range(count))
    return Scene(things, relation, rng.choice(list(BACKGROUNDS)))


def sample_scenes(split: str, count: int, seed: int = 0) -> Iterator[Scene]:
    """Yield `count` distinct scenes of `split` ("train" or "heldout"), the same scenes for the same seed.

    Raises ValueError for an unknown split.

    >>> [canonical(scene) for scene in sample_scenes("train", 1)]
    ['1 big blue striped box|left|1 big yellow spotted star|night']
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
    rng = random.Random(f"scenes-{split}-{seed}")
    seen: set[Scene] = set()
    while len(seen) < count:
        scene = random_scene(rng)
        if split_of(scene) == split and scene not in seen:
            seen.add(scene)
            yield scene


def draw(scene: Scene, seed: int = 0, size: int = 64) -> Image:
    """The scene as an RGB image of `size` by `size` pixels. `seed` slightly changes positions, sizes and colours."""
    from PIL import Image, ImageDraw

    rng = random.Random(f"draw-{canonical(scene)}-{seed}")
    side = size * _SCALE
    far, near = (_tint(color, rng, 8) for color in BACKGROUNDS[scene.background])
    canvas = Image.new("RGB", (side, side), far)
    horizon = round(side * rng.uniform(0.3, 0.5))
    ImageDraw.Draw(canvas).rectangle((0, horizon, side, side), fill=near)
    for thing, (x, y) in zip(scene.things, _places(scene), strict=True):
        center = (side * (x + rng.uniform(-0.035, 0.035)), side * (y + rng.uniform(-0.035, 0.035)))
        _paint(canvas, thing, center, rng)
    return canvas.reduce(_SCALE)


def _tint(color: tuple[int, int, int], rng: random.Random, amount: int) -> tuple[int, int, int]:
    """The colour with each channel changed by at most `amount` of 255."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-amount, amount))) for channel in color)
    return red, green, blue


def _places(scene: Scene) -> list[tuple[float, float]]:
    """Centers (x, y) of the things as shares of the image side, first group first."""
    counts = [count for count, _ in groups(scene)]
    if len(counts) == 1:
        return {
            1: [(0.5, 0.5)],
            2: [(0.27, 0.5), (0.73, 0.5)],
            3: [(0.27, 0.29), (0.73, 0.29), (0.5, 0.73)],
        }[counts[0]]
    along = {1: (0.5,), 2: (0.27, 0.73)}  # the things of a group are placed across the axis of the relation
    flat = [(0.25 if index == 0 else 0.75, cross) for index, count in enumerate(counts) for cross in along[count]]
    return flat if scene.relation == "left" else [(cross, axis) for axis, cross in flat]


def _paint(canvas: Image, thing: Thing, center: tuple[float, float], rng: random.Random) -> None:
    """Paint one thing: its patterned fill through a mask, then an outline that is visible on any background."""
    from PIL import Image, ImageDraw

    radius = canvas.width * SIZES[thing.size] * rng.uniform(0.94, 1.06)
    fill = Image.new("RGB", canvas.size, _tint(COLORS[thing.color], rng, 10))
    ink = COLORS["black"] if thing.color in ("yellow", "white") else COLORS["white"]
    _decorate(ImageDraw.Draw(fill), thing.pattern, center, radius, ink)
    mask = Image.new("L", canvas.size, 0)
    outline = (150, 150, 150) if thing.color == "black" else (20, 20, 20)
    for kind, points in _PARTS[thing.shape]:
        xy = [center[index % 2] + radius * value for index, value in enumerate(points)]
        getattr(ImageDraw.Draw(mask), kind)(xy, fill=255)
        canvas.paste(fill, (0, 0), mask)
        getattr(ImageDraw.Draw(canvas), kind)(xy, outline=outline, width=_SCALE * canvas.width // 256)
        mask.paste(0, (0, 0, *mask.size))


def _decorate(pen: ImageDraw, pattern: str, center: tuple[float, float], radius: float, ink: tuple) -> None:
    """Cover the surroundings of `center` with stripes or spots. Their pitch is fixed, so small things have few."""
    pitch = 16 * pen.im.size[0] / 256
    steps = [step * pitch - 6 * pitch for step in range(13)]
    if pattern == "striped":
        for x in steps:
            left = center[0] + x - pitch / 4
            pen.rectangle((left, center[1] - 2 * radius, left + pitch / 2.2, center[1] + 2 * radius), fill=ink)
    elif pattern == "spotted":
        for row, y in enumerate(steps):
            for x in steps:
                left, top = center[0] + x + (row % 2) * pitch / 2 - pitch / 4, center[1] + y - pitch / 4
                pen.ellipse((left, top, left + pitch / 1.8, top + pitch / 1.8), fill=ink)
