"""Layouts of folders and tar files, see ``layouts.py``."""

from __future__ import annotations

from support.layouts import Image, Layout, Tar

RED, BLUE = Image(0), Image(1)

FOLDERS = [
    Layout(
        "Images with text files",
        {"photos/a.jpg": RED, "photos/a.txt": "A red square\nRed\n", "photos/b.jpg": BLUE},
        {"a": [("en", "A red square"), ("en", "Red")], "b": []},
        about="A caption for each line.",
    ),
]
TARS = [
    Layout(
        "WebDataset tar files",
        {"wds/00000.tar": Tar({"0.jpg": RED, "0.txt": "A red square", "1.jpg": BLUE, "1.txt": "A blue square"})},
        {"0": [("en", "A red square")], "1": [("en", "A blue square")]},
        source="wds",
    ),
]

TOPICS = {"Folders of images": FOLDERS, "Tar files": TARS}
