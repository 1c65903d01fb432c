"""Drawings on a plain background, of kinds whose members differ in what a person reads and hardly when small."""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageFont

WORDS = tuple(
    [
        "CAT",
        "DOG",
        "SUN",
        "CAR",
        "BUS",
        "TREE",
        "FISH",
        "BIRD",
        "MOON",
        "STAR",
        "BALL",
        "BOOK",
        "LAMP",
        "DOOR",
        "ROAD",
        "SHIP",
        "RAIN",
        "SNOW",
        "GOLD",
        "MILK",
        "WOLF",
        "BEAR",
    ]
)


def _canvas(width: int, height: int, color: str = "white") -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), color)
    return image, ImageDraw.Draw(image)


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, color: str = "black") -> None:
    draw.text(at, text, fill=color, font=ImageFont.load_default(size), anchor="mm")


def _line(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS).lower() for _ in range(words))


def small_text(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(512, 512)
    _write(draw, (256, 256), WORDS[number % len(WORDS)], 18)
    return image


def white_on_black(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(640, 480, "black")
    _write(draw, (320, 240), WORDS[number % len(WORDS)], 26, "white")
    return image


def sign(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(512, 512)
    draw.ellipse((156, 156, 356, 356), fill=(200, 20, 20))
    draw.ellipse((176, 176, 336, 336), fill="white")
    _write(draw, (256, 256), str(10 + number), 80)
    return image


def icon(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(256, 256)
    for _ in range(4):
        x, y, side = chance.randint(90, 140), chance.randint(90, 140), chance.randint(12, 35)
        color = tuple(chance.randint(0, 160) for _ in range(3))
        shape = chance.choice((draw.rectangle, draw.ellipse))
        shape((x, y, x + side, y + side), fill=color)
    return image


def chart(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(640, 480)
    draw.line((60, 30, 60, 430, 610, 430), fill="black", width=3)
    heights = [100, 150, 200, 250, 300, 250, 200, 150]
    heights[number % 8] += 20 + 10 * (number // 8)
    for bar, height in enumerate(heights):
        draw.rectangle((80 + bar * 65, 430 - height, 120 + bar * 65, 430), fill=(40, 90, 200))
    return image


def table(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(640, 480)
    for row in range(11):
        draw.line((40, 40 + row * 40, 600, 40 + row * 40), fill="black")
    for column in range(5):
        draw.line((40 + column * 140, 40, 40 + column * 140, 440), fill="black")
    for row in range(10):
        for column in range(4):
            _write(draw, (110 + column * 140, 60 + row * 40), f"{chance.randint(100, 999) / 10:.1f}", 15)
    return image


def table_with_one_other_number(number: int, chance: random.Random) -> Image.Image:
    image = table(0, random.Random(0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((185, 145, 315, 175), fill="white")
    _write(draw, (250, 160), f"{100 + 37 * number}", 15)
    return image


def screenshot(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(800, 600)
    draw.rectangle((0, 0, 800, 40), fill=(60, 60, 70))
    draw.rectangle((0, 40, 150, 600), fill=(225, 225, 230))
    _write(draw, (120, 20), "File  Edit  View  Help", 16, "white")
    for row in range(14):
        _write(draw, (470, 60 + row * 36), _line(chance, 9), 15)
    return image


def page(number: int, chance: random.Random) -> Image.Image:
    image, draw = _canvas(600, 800)
    for row in range(28):
        _write(draw, (300, 50 + row * 25), _line(chance, 8), 14)
    return image


def form(number: int, chance: random.Random) -> Image.Image:
    """One word differs."""
    image, draw = _canvas(640, 480)
    for row, name in enumerate(("Name", "Street", "City", "Phone")):
        _write(draw, (110, 90 + row * 80), name, 20)
        draw.rectangle((200, 70 + row * 80, 560, 110 + row * 80), outline="black")
    _write(draw, (300, 90), WORDS[number % len(WORDS)], 20)
    return image


KINDS: dict[str, Callable[[int, random.Random], Image.Image]] = {
    each.__name__.replace("_", " "): each
    for each in (
        small_text, white_on_black, sign, icon, chart, table, table_with_one_other_number, screenshot, page, form,
    )
}  # fmt: skip


def drawings(kind: str, count: int) -> list[Image.Image]:
    return [KINDS[kind](number, random.Random(f"{kind}-{number}")) for number in range(count)]
