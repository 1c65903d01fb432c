"""Layouts of folders and tar files, see ``layouts.py``."""

from __future__ import annotations

from support.layouts import Image, Layout, Parquet, Tar

RED, BLUE = Image(0), Image(1)
_BOTH = {"0": [("en", "A red square")], "1": [("en", "A blue square")]}
_JSON = '{"caption": "%s", "url": "http://example.org/%d.jpg", "key": "%s", "status": "success"}'


def _img2dataset(folder: str = "") -> dict[str, str | bytes | Image]:
    """The files of two images as img2dataset writes them."""
    files: dict[str, str | bytes | Image] = {}
    for number, (image, text) in enumerate([(RED, "A red square"), (BLUE, "A blue square")]):
        key = f"00000{number:04d}"
        files |= {f"{folder}{key}.jpg": image, f"{folder}{key}.json": _JSON % (text, number, key)}
        files[f"{folder}{key}.txt"] = text
    return files


FOLDERS = [
    Layout(
        "Images with text files",
        {"photos/a.jpg": RED, "photos/a.txt": "A red square\nRed\n", "photos/b.jpg": BLUE},
        {"a": [("en", "A red square"), ("en", "Red")], "b": []},
        about="A caption for each line.",
    ),
    Layout(
        "Images with files of other names",
        {
            "photos/a.jpg": RED, "photos/a.jpg.txt": "A red square", "photos/b.jfif": BLUE, "photos/b.TXT": "Blue",
            "photos/c.png": Image(2), "photos/c.caption": "Green", "photos/c.png.json": '{"caption_pt": "Verde"}',
        },
        {"a": [("en", "A red square")], "b": [("en", "Blue")], "c": [("pt", "Verde"), ("en", "Green")]},
        about="The file has the name of the image with or without its suffix, and ends in txt, text, caption or json.",
    ),
    Layout(
        "Images with JSON files",
        {
            "photos/a.jpg": RED, "photos/a.json": '{"captions": ["A red square", "Red"], "license": 4}',
            "photos/b.jpg": BLUE, "photos/b.json": '{"sentences": [{"raw": "Azul"}], "language": "pt"}',
        },
        {"a": [("en", "A red square"), ("en", "Red")], "b": [("pt", "Azul")]},
        about="The fields are found by name as the columns of a table. Other fields stay in the json of the sample.",
    ),
    Layout(
        "img2dataset, files",
        {
            **_img2dataset("laion/00000/"), "laion/00000_stats.json": '{"count": 2}',
            "laion/00000.parquet": Parquet([{"url": "http://example.org/0.jpg", "caption": "A red square"}]),
        },
        {"00000/000000000": [("en", "A red square")], "00000/000000001": [("en", "A blue square")]},
        source="laion",
        notes={".parquet files passed over": 1, ".json files passed over": 1},
        about="The parquet files list the same images, so they are passed over.",
    ),
    Layout(
        "A folder from macOS or Windows",
        {
            "photos/a.jpg": RED, "photos/._a.jpg": "", "photos/a.txt": "Red", "photos/._a.txt": "",
            "photos/.DS_Store": "", "photos/Thumbs.db": "",
        },
        {"a": [("en", "Red")]},
        notes={"files of macOS or Windows passed over": 4},
    ),
]  # fmt: skip
TARS = [
    Layout(
        "WebDataset tar files",
        {"wds/00000.tar": Tar({"0.jpg": RED, "0.txt": "A red square", "1.jpg": BLUE, "1.txt": "A blue square"})},
        _BOTH,
        source="wds",
    ),
    Layout(
        "img2dataset, webdataset",
        {
            "laion/00000.tar": Tar(_img2dataset()), "laion/00000_stats.json": '{"count": 2}',
            "laion/00000.parquet": Parquet([{"url": "http://example.org/0.jpg", "caption": "A red square"}]),
        },
        {"000000000": [("en", "A red square")], "000000001": [("en", "A blue square")]},
        source="laion",
        notes={".parquet files passed over": 1, ".json files passed over": 1},
        about="json and txt hold the same caption, which is found once.",
    ),
    Layout(
        "CLIP_benchmark",
        {
            "wds_flickr/test/0.tar": Tar({"s0.jpg": RED, "s0.txt": "A red square\nRed\nA square\n"}),
            "wds_flickr/test/nshards.txt": "1\n",
        },
        {"s0": [("en", "A red square"), ("en", "Red"), ("en", "A square")]},
        source="wds_flickr/test",
        notes={".txt files passed over": 1},
        about="A caption for each line of txt.",
    ),
    Layout(
        "Tar files with captions in json",
        {
            "wds/0.tar": Tar({
                "0.jpg": RED, "0.json": '{"captions": ["A red square", "Red"]}',
                "1.jpg": BLUE, "1.json": '{"caption_en": "Blue", "caption_pt": ["Azul"]}',
                "2.png": Image(2), "2.json": '{"caption": null}', "2.txt": "Green",
                "3.png": Image(3), "3.json": '{"captions": [{"caption": "Amarelo", "language": "pt"}]}',
            })
        },
        {
            "0": [("en", "A red square"), ("en", "Red")], "1": [("en", "Blue"), ("pt", "Azul")],
            "2": [("en", "Green")], "3": [("pt", "Amarelo")],
        },
        source="wds",
    ),
    Layout(
        "Compressed tar files",
        {"wds/0.tar": Tar({"0.jpg": RED, "0.txt": "A red square"}),
         "wds/1.tar.gz": Tar({"1.jpg": BLUE, "1.txt": "A blue square"})},
        _BOTH,
        source="wds",
        about="tar, tar.gz and tgz, also mixed.",
    ),
    Layout(
        "Tar files from macOS",
        {
            "wds/0.tar": Tar({
                "._0.jpg": "", "0.jpg": RED, "._0.txt": "", "0.txt": "A red square", "__MACOSX/._0.txt": "",
                "._1.jpg": "", "1.jpg": BLUE, ".DS_Store": "", "1.txt": "A blue square",
            })
        },
        _BOTH,
        source="wds",
        notes={"ignored file of macOS or Windows": 5},
    ),
    Layout(
        "The original CAPIVARA",
        {
            "cc3m/0.tar": Tar({
                "0.png": RED,
                "0.json": '{"captions-en": ["A red square"], "captions-pt": ["Um quadrado vermelho", null]}',
            })
        },
        {"0": [("en", "A red square"), ("pt", "Um quadrado vermelho")]},
        source="cc3m",
        notes={"empty captions": 1},
        about="Captions keep their origin (Marian, Google, BLIP-2) and their score.",
    ),
]  # fmt: skip

TOPICS = {"Folders of images": FOLDERS, "Tar files": TARS}
