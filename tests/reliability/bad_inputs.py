"""Shards, samples, images and lists that are damaged."""

from __future__ import annotations

import gzip

from reliability.case import Case, nothing
from reliability.made_bad import (
    also,
    animation,
    doubled_keys,
    empty_folder,
    file,
    foreign,
    good,
    linked,
    picture,
    png_of,
    shards,
    tar_of,
    unfinished,
    with_image,
    with_json,
)
from support.made import jpeg

from capivara_cli.shards.sample import Sample

_CAPTIONS = 'json "captions" is not a list of {"text", "lang", "by", "of", "score"}'
_ENTRY = 'a caption has an "of" that is not text, or a "score" that is not a number'
_LEFT_OUT = "read 3, wrote 2, dropped 1"


def _header_flipped() -> bytes:
    data = bytearray(good())
    data[2 * 512 + 100] ^= 1  # the first member's header is behind the pax header and its body
    return bytes(data)


def _json(wrong: str, document: object, reason: str) -> Case:
    return Case(wrong, "dedupe bad.tar --out out", with_json(document), _LEFT_OUT, 0, 3, 2, {reason: 1})


def _image(wrong: str, data: bytes, reason: str, suffix: str = "jpg") -> Case:
    line, make = "caption bad.tar --captioner toy --n 1 --out out", with_image(data, suffix)
    return Case(wrong, line, make, _LEFT_OUT, 0, 3, 2, {reason: 1})


def _fine(wrong: str, data: bytes, suffix: str = "jpg") -> Case:
    line, make = "caption bad.tar --captioner toy --n 1 --out out", with_image(data, suffix)
    return Case(wrong, line, make, "read 3, wrote 3, dropped 0", 0, 3, 3)


def _list(wrong: str, text: str | bytes, says: str, *counts: object, name: str = "list.csv", more: str = "") -> Case:
    make = also(file(name, text), file("a.jpg", jpeg()), file("b.jpg", jpeg((0, 0, 200))))
    line = f"pack {name}{more} --out out"
    if not counts:
        return Case(wrong, line, make, says)
    read, written, dropped = counts
    return Case(wrong, line, make, says, 0, read, written, dropped)  # type: ignore[arg-type]


SHARDS = [
    Case("a missing shard", "split nowhere.tar", nothing, r"nowhere\.tar: no such file or folder"),
    Case("no input at all", "split", nothing, r"shards: no such file or folder\n.*capivara pack PHOTOS --out shards"),
    Case("a folder without shards", "split empty", empty_folder("empty"), r"empty: no \.tar shards in this folder"),
    Case("a shard of zero bytes", "split bad.tar", file("bad.tar", b""), r"bad\.tar: empty, not even an end marker"),
    Case(
        "a shard cut off in the middle", "split bad.tar --out out", file("bad.tar", good()[:5000]),
        r"bad\.tar: cut off at byte 5000, inside '00001\.jpg'\n  the command that wrote it failed",
    ),
    Case(
        "a shard without its end marker", "split bad.tar --out out", file("bad.tar", good()[:-1024]),
        r"bad\.tar: cut off at byte \d+, before the end marker",
    ),
    Case(
        "one of two shards cut off", "split shards --out out",
        also(shards, lambda folder: (folder / "shards" / "00001.tar").write_bytes(good()[:5000]) and None),
        r"shards/00001\.tar: cut off at byte \d+",
    ),
    Case(
        "one flipped bit in a header", "split bad.tar --out out", file("bad.tar", _header_flipped()),
        r"bad\.tar: not a tar, or a damaged one \(header checksum",
    ),
    Case(
        "data after the end of a shard", "split bad.tar --out out", file("bad.tar", good() + b"junk" * 300),
        r"bad\.tar: not a tar, or a damaged one",
    ),
    Case("another file named .tar", "split bad.tar", file("bad.tar", b"PK\x03\x04" * 400), r"bad\.tar: not a tar"),
    Case(
        "a compressed shard cut off", "split bad.tar.gz --out out", file("bad.tar.gz", gzip.compress(good())[:-50]),
        r"bad\.tar\.gz: the compressed stream is damaged or cut off",
    ),
    Case(
        "a member that points outside", "split bad.tar --out out",
        tar_of(Sample("../../etc/passwd", {"jpg": jpeg(), "json": b"{}"})),
        r"bad\.tar: .*\.\./\.\./etc/passwd",
    ),
    Case(
        "links and folders among the members", "split bad.tar --fraction 0 --out out", linked,
        "read 1, wrote 1, dropped 0; .*symbolic link: 1", 0, 1, 1,
    ),
    Case(
        "a shard that was never packed", "filter raw.tar --model toy --out out", foreign(("1.jpg", jpeg()), ("1.txt", b"red")),
        r"raw\.tar: its captions are in txt, without a language: only pack reads them\n  capivara pack raw\.tar --out packed",
    ),
    Case(
        "a tar that is not sorted", "split raw.tar --out out",
        foreign(("1.jpg", jpeg()), ("2.jpg", jpeg()), ("1.txt", b"red"), ("2.txt", b"red")),
        r"raw\.tar: not sorted: '1\.jpg' and '1\.txt' belong together.*\n  sort its members by name",
    ),
    Case(
        "files of macOS among the members", "split raw.tar --fraction 0 --out out",
        foreign(("._1.jpg", b""), ("1.jpg", jpeg()), ("._1.txt", b""), ("1.txt", b"red"), (".DS_Store", b"")),
        "read 1, wrote 1, dropped 0; .*ignored file of macOS or Windows: 3", 0, 1, 1,
    ),
    Case("a link to nowhere among the shards", "split shards --out out",
         also(shards, lambda folder: (folder / "shards" / "00002.tar").symlink_to("nowhere.tar")),
         r"shards/00002\.tar: is a link to a file that does not exist"),
    Case("a shard twice, compressed and not", "split shards --out out",
         also(shards, file("shards/00001.tar.gz", gzip.compress(good()))),
         r"shards: has 00001\.tar and 00001\.tar\.gz, which look like the same shard"),
    Case("standard input cut off", "split - --out out", file("in.tar", good()[:-600]),
         r"standard input: cut off at byte \d+", stdin="in.tar"),
    Case("nothing on standard input", "split - --out out", nothing, r"standard input: empty, not even an end marker"),
    Case("an unfinished folder", "translate half --translator toy --out out", unfinished,
         r"half: unfinished: 2 of 3 shards are finished\n  run the command that makes it again"),
    Case("a pattern that matches nothing", "split shards/9*.tar", shards, r"shards/9\*\.tar: nothing matches"),
    Case("a range with a gap", "split shards/{00000..00003}.tar", shards, r"shards/00002\.tar: no such file or folder"),
    Case("a shell command instead of a file", "split pipe:ls", nothing, "pipe: inputs run shell commands and are not supported"),
    Case("a URL of a kind that is not known", "split ftpz://host/a.tar", nothing, "there is no kind of URL 'ftpz'"),
]  # fmt: skip

SAMPLES = [
    _json("json cut off", b'{"captions": [', "json cannot be parsed"),
    _json("json not in UTF-8", b"\xff\xfe{}\x00", "json cannot be parsed"),
    _json("json nested without end", b"[" * 100_000, "json cannot be parsed"),
    _json("json that is a list", [1], "json is not an object"),
    _json("captions that are a text", {"captions": "a dog"}, _CAPTIONS),
    _json("captions that are null", {"captions": None}, _CAPTIONS),
    _json("a caption that is a number", {"captions": [1]}, _CAPTIONS),
    _json("a caption whose text is a number", {"captions": [{"text": 5}]}, _CAPTIONS),
    _json("a caption whose origin is a number", {"captions": [{"text": "a", "of": 3}]}, _ENTRY),
    _json("a caption whose score is a text", {"captions": [{"text": "a", "score": "high"}]}, _ENTRY),
    _json("a caption whose score is not a number", b'{"captions": [{"text": "a", "score": NaN}]}', _ENTRY),
    Case(
        "a caption without a language", "dedupe bad.tar --out out", with_json({"captions": [{"text": "a dog"}]}),
        "read 3, wrote 3, dropped 0", 0, 3, 3,
    ),
    Case(
        "the same key twice", "split bad.tar --fraction 0 --out out", doubled_keys,
        r"read 3, wrote 2, dropped 1 \(duplicate key: 1\)", 0, 3, 2, {"duplicate key": 1},
    ),
    Case(
        "a damaged sample, shown", "show bad.tar", with_json(b"["), "^$", 0,
    ),
    Case(
        "more damage than --max-failures allows",
        "dedupe bad.tar --max-failures 0 --out out", with_json(b"["),
        "dedupe: more than 0 samples cannot be used; the last is 'bad': json cannot be parsed",
    ),
]  # fmt: skip

IMAGES = [
    _image("an image of zero bytes", b"", "image has zero bytes"),
    _image("an image that is a text", b"<html>404</html>", "image cannot be decoded: not an image"),
    _image("an image cut off", jpeg()[:-200], "image cannot be decoded: truncated"),
    _image("an image with a damaged header", jpeg()[:20], "image cannot be decoded: damaged header"),
    _image("a bomb: 900 megapixels in 200 bytes", png_of(30_000, 30_000), "image larger than 64 megapixels"),
    _image("an image 60,000 pixels long and 20 high", png_of(60_000, 20), "image more than 200 times as long as wide"),
    _image("no image in a sample", b"a text", "no image", "txt"),
    _fine("a PNG named .jpg", picture(form="PNG")),
    _fine("an image in CMYK", picture("CMYK")),
    _fine("an image of 16 bits", picture("I;16", "PNG"), "png"),
    _fine("an animation: its first frame", animation(), "gif"),
    Case(
        "damaged images in training", "train bad.tar --lang pt --model toy --steps 1 --batch-size 2 --quiet",
        with_image(b"text"), "^$", 0, 3, None, {"image cannot be decoded: not an image": 1},
    ),
    Case(
        "damaged images in an evaluation", "eval bad.tar --model toy --lang pt --quiet", with_image(b"text"), "^$", 0, 3,
        None, {"image cannot be decoded: not an image": 1},
    ),
    Case(
        "damaged images in a search", "search 'a red square' bad.tar --model toy", with_image(b"text"),
        r"warning: not searched: 1 samples \(image cannot be decoded: not an image: 1\)", 0, None, None,
        {"image cannot be decoded: not an image": 1},
    ),
]  # fmt: skip

LISTS = [
    Case("a missing list", "pack nowhere.csv", nothing, r"nowhere\.csv: no such file or folder"),
    Case("nothing to pack", "pack", nothing, "pack: no input is named", 2),
    Case("a folder without images", "pack photos", empty_folder("photos"), "photos: an empty folder"),
    _list("an empty list", "", r"list\.csv: no rows\n  the first line names the columns: image,caption,lang"),
    _list("a list without a column of images", "x,y\na.jpg,red\n", r"list\.csv: no column names the images; .* 'x', 'y'"),
    _list("an image of the list is missing", "file,caption\na.jpg,red\nzz.jpg,blue\n",
          r"warning: zz\.jpg: no such image file", 2, 1, {"no such image file": 1}),
    _list("a line of the list is not UTF-8", "file,caption\na.jpg,red\nb.jpg,\u043a\u043e\u0442\n".encode("cp1251"),
          r"warning: list\.csv:3: not UTF-8", 2, 1, {"not UTF-8": 1}),
    _list("a line of the list is not JSON", '{"file": "a.jpg", "caption": "red"}\n{bad\n',
          r"warning: list\.jsonl:2: not JSON", 2, 1, {"not JSON": 1}, name="list.jsonl"),
    _list("a language that does not exist", "file,caption,lang\na.jpg,red,zz9\nb.jpg,azul,pt\n",
          r"warning: list\.csv:2: unknown language 'zz9'", 2, 1, {"unknown language 'zz9'": 1}),
    _list("an image of the list that is a file of passwords", "file,caption\n/etc/passwd,x\nb.jpg,blue\n",
          "warning: passwd: image cannot be decoded: not an image", 2, 1, {"image cannot be decoded: not an image": 1}),
    _list("no line of the list can be used", "file,caption\nzz.jpg,blue\n",
          r"list\.csv: none of the first 1 images exists; the first is .*zz\.jpg\n  name the folder .* --images DIR"),
    _list("captions of COCO without annotations", '{"images": [{"id": 1}]}',
          r"c\.json: not COCO captions: it needs the lists 'images' and 'annotations'", name="c.json"),
    _list("captions of COCO without images", '{"images": [], "annotations": []}',
          r"c\.json: no images to pack", name="c.json"),
    _list("a form that does not exist", "file,caption\na.jpg,red\n", "there is no importer 'coc'.*did you mean coco",
          more=" --format coc"),
    Case(
        "captions that pack does not find", "pack photos --out out",
        also(file("photos/a.jpg", jpeg()), file("photos/lists/train.jsonl", "{}")),
        r"warning: photos: no captions found; lists/train\.jsonl was passed over: capivara pack photos/lists/train\.jsonl",
        0, 1, 1,
    ),
    Case("a second source that is missing", "pack photos nowhere.csv --out out", file("photos/a.jpg", jpeg()),
         r"nowhere\.csv: no such file or folder"),
    Case(
        "damaged images in a folder", "pack photos --out out",
        also(file("photos/a.jpg", jpeg()), file("photos/b.jpg", b""), file("photos/c.jpg", jpeg()[:-100]),
             file("photos/d.png", png_of(30_000, 30_000))),
        "warning: b: image has zero bytes", 0, 4, 1,
        {"image has zero bytes": 1, "image cannot be decoded: truncated": 1, "image larger than 64 megapixels": 1},
    ),
]  # fmt: skip

TOPICS = {"Shards and streams": SHARDS, "Samples": SAMPLES, "Images": IMAGES, "Lists to pack": LISTS}
