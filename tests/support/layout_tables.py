"""Layouts of tables, JSON lists and Hugging Face data sets, see ``layouts.py``."""

from __future__ import annotations

from support.layouts import Image, Layout, Parquet

RED, BLUE = Image(0), Image(1)
_PHOTOS = {"photos/a.jpg": RED, "photos/b.jpg": BLUE}

TABLES = [
    Layout(
        "CSV",
        {
            **_PHOTOS,
            "photos/captions.csv": "image,caption,lang\na.jpg,A red square,en\na.jpg,Um quadrado vermelho,pt\n",
        },
        {"a": [("en", "A red square"), ("pt", "Um quadrado vermelho")]},
        source="photos/captions.csv",
        about="A row for each caption. An image that no row names is not packed.",
    ),
]
HUGGING_FACE = [
    Layout(
        "Parquet with images",
        {"hf/data/train-00000-of-00001.parquet": Parquet([{"image": {"bytes": RED, "path": "a.jpg"}, "text": "Red"}])},
        {"a": [("en", "Red")]},
        source="hf",
    ),
]  # fmt: skip
JSON_LISTS: list[Layout] = []

TOPICS = {"Tables": TABLES, "Hugging Face data sets": HUGGING_FACE, "JSON lists of data sets": JSON_LISTS}
