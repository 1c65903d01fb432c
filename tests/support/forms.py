"""The same photos and captions written in every form in which data sets come."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from support.layouts import Parquet, Tar, write_file
from support.made import PHOTOS


class Said(NamedTuple):
    """A caption of a photo; ``image`` is the name of its file."""

    image: str
    caption: str
    lang: str


class Source(NamedTuple):
    """What is given to ``pack``, with its options."""

    path: Path
    options: dict[str, str] = {}  # noqa: RUF012  never changed


Form = Callable[[Path, list[Said]], list[Source]]
"""Writes the photos and captions into an empty folder and returns the sources to pack."""


def real_captions(count: int) -> list[Said]:
    """The captions of the first photos."""
    with open(PHOTOS / "captions.csv", encoding="utf-8", newline="") as file:
        rows = [Said(Path(row["image"]).name, row["caption"], row["lang"]) for row in csv.DictReader(file)]
    images = list(dict.fromkeys(row.image for row in rows))[:count]
    return [row for row in rows if row.image in set(images)]


def expected(rows: list[Said]) -> set[tuple[str, str, str]]:
    """What every form must give: the captions as they are, but for white space around them and HTML entities."""
    return {(row.image, html.unescape(row.caption.strip()), row.lang) for row in rows}


def data(image: str) -> bytes:
    return (PHOTOS / "images" / image).read_bytes()


def _link_images(folder: Path, rows: list[Said]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in dict.fromkeys(row.image for row in rows):
        (folder / image).symlink_to(PHOTOS / "images" / image)


def _by_image(rows: list[Said]) -> dict[str, list[Said]]:
    found: dict[str, list[Said]] = {}
    for row in rows:
        found.setdefault(row.image, []).append(row)
    return found


def _csv(folder: Path, rows: list[Said]) -> list[Source]:
    _link_images(folder / "images", rows)
    with open(folder / "captions.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("image", "caption", "lang"), *((f"images/{row.image}", *row[1:]) for row in rows)])
    return [Source(folder)]


def _tsv(folder: Path, rows: list[Said]) -> list[Source]:
    """Without any quoting, a column for each English caption and for the Hindi one."""
    _link_images(folder, rows)
    lines = ["image\tcaption_id\t" + "\t".join(f"caption_{number}" for number in range(1, 6)) + "\tcaption_hi"]
    for number, (image, found) in enumerate(_by_image(rows).items()):
        english = [row.caption for row in found if row.lang == "en"]
        hindi = [row.caption for row in found if row.lang == "hi"]
        lines.append("\t".join([f"./{image}", str(number), *english, *[""] * (5 - len(english)), *hindi]))
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return [Source(folder / "captions.tsv")]


def _json_lines(folder: Path, rows: list[Said]) -> list[Source]:
    _link_images(folder, rows)
    lines = [
        {"image": image, "captions": [{"text": row.caption, "lang": row.lang} for row in found]}
        for image, found in _by_image(rows).items()
    ]
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [Source(folder / "list.jsonl")]


def _imagefolder(folder: Path, rows: list[Said]) -> list[Source]:
    """Two splits, each with a metadata file of its own: one in JSON lines, one in CSV."""
    images = list(_by_image(rows))
    for split, chosen in (("train", set(images[::2])), ("test", set(images[1::2]))):
        part = [row for row in rows if row.image in chosen]
        _link_images(folder / split, part)
        lines = [{"file_name": row.image, "text": row.caption, "language": row.lang} for row in part]
        if split == "train":
            (folder / split / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            with open(folder / split / "metadata.csv", "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, ["file_name", "text", "language"])
                writer.writeheader()
                writer.writerows(lines)
    return [Source(folder)]


def _coco(folder: Path, rows: list[Said]) -> list[Source]:
    """One file of captions for each language."""
    _link_images(folder / "val2017", rows)
    ids = {image: number for number, image in enumerate(_by_image(rows), start=100)}
    for lang, name in (("en", "captions_val2017.json"), ("hi", "captions_val2017_hi.json")):
        document = {
            "images": [{"id": number, "file_name": image} for image, number in ids.items()],
            "annotations": [{"image_id": ids[row.image], "caption": row.caption} for row in rows if row.lang == lang],
        }
        write_file(folder / "annotations" / name, json.dumps(document))
    return [Source(folder)]


def _karpathy(folder: Path, rows: list[Said]) -> list[Source]:
    """The format has no languages: a file for each."""
    sources = []
    _link_images(folder / "images", rows)
    for lang in ("en", "hi"):
        images = [
            {"filename": image, "split": "test", "sentids": [], "sentences": [{"raw": row.caption} for row in found]}
            for image, found in _by_image([row for row in rows if row.lang == lang]).items()
        ]
        write_file(folder / f"dataset_{lang}.json", json.dumps({"images": images, "dataset": "flickr8k"}))
        sources.append(Source(folder / f"dataset_{lang}.json", {"lang": lang}))
    return sources


def _parquet(folder: Path, rows: list[Said]) -> list[Source]:
    """As Hugging Face has it: images with lists of structs, and a column for Hindi."""
    table: list[dict[str, Any]] = []
    for image, found in _by_image(rows).items():
        english = [{"raw": row.caption, "sentid": number} for number, row in enumerate(found) if row.lang == "en"]
        hindi = next(row.caption for row in found if row.lang == "hi")
        table.append({"image": {"bytes": data(image), "path": image}, "sentences": english, "caption_hi": hindi})
    write_file(folder / "data" / "test-00000-of-00001.parquet", Parquet(table))
    return [Source(folder)]


def _lavis(folder: Path, rows: list[Said]) -> list[Source]:
    _link_images(folder / "images", rows)
    lines = [{"image": row.image, "caption": row.caption, "image_id": row.image, "lang": row.lang} for row in rows]
    write_file(folder / "list.json", json.dumps(lines))
    return [Source(folder)]


def _sample(number: int, row: Said) -> dict[str, str | bytes]:
    """The members of a sample of img2dataset, by suffix."""
    fields = {"caption": row.caption, "LANGUAGE": row.lang, "url": f"https://example.org/{row.image}", "key": number}
    return {"jpg": data(row.image), "txt": row.caption, "json": json.dumps(fields)}


def _img2dataset_webdataset(folder: Path, rows: list[Said]) -> list[Source]:
    members = {
        f"{number:09d}.{suffix}": content
        for number, row in enumerate(rows)
        for suffix, content in _sample(number, row).items()
    }
    write_file(folder / "00000.tar", Tar(members))
    return [Source(folder)]


def _img2dataset_files(folder: Path, rows: list[Said]) -> list[Source]:
    for number, row in enumerate(rows):
        for suffix, content in _sample(number, row).items():
            write_file(folder / "00000" / f"{number:09d}.{suffix}", content)
    write_file(folder / "00000.parquet", Parquet([{"url": row.image, "caption": row.caption} for row in rows]))
    return [Source(folder)]


def _img2dataset_parquet(folder: Path, rows: list[Said]) -> list[Source]:
    table = [
        {
            "url": f"https://example.org/{row.image}", "key": f"{number:09d}", "status": "success",
            "caption": row.caption, "LANGUAGE": row.lang, "jpg": data(row.image),
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    write_file(folder / "00000.parquet", Parquet(table))
    return [Source(folder)]


FORMS: dict[str, Form] = {
    "CSV": _csv,
    "TSV": _tsv,
    "JSON lines": _json_lines,
    "imagefolder": _imagefolder,
    "COCO": _coco,
    "Karpathy": _karpathy,
    "LAVIS": _lavis,
    "parquet": _parquet,
    "img2dataset, webdataset": _img2dataset_webdataset,
    "img2dataset, files": _img2dataset_files,
    "img2dataset, parquet": _img2dataset_parquet,
}
