"""Layouts of tables, JSON lists and Hugging Face data sets, see ``layouts.py``."""

from __future__ import annotations

from support.layouts import Image, Layout, Parquet

RED, BLUE = Image(0), Image(1)
_PHOTOS = {"photos/a.jpg": RED, "photos/b.jpg": BLUE}
_A, _B = [("en", "A red square")], [("en", "A blue square")]
_BOTH = {"a": _A, "b": _B}
_UNNAMED = "images that no row names"

TABLES = [
    Layout(
        "CSV",
        {"photos/a.jpg": RED, "photos/list.csv": "image,caption,lang\na.jpg,A red square,en\na.jpg,Um quadrado,pt\n"},
        {"a": [("en", "A red square"), ("pt", "Um quadrado")]},
        source="photos/list.csv",
        about="A row for each caption. The columns are found by name, in any order: an image (`image`, `file_name`, "
        "`path`, `url` …), captions (`caption`, `text`, `sentence`, `title` …) and a language (`lang`, `language`). "
        "The other columns go into the json of the sample, with all their digits. Semicolons, tabs and `|` are found "
        "too.",
    ),
    Layout(
        "A folder with one table",
        {**_PHOTOS, "photos/captions.csv": "file_name,text\na.jpg,A red square\n"},
        {"a": _A},
        notes={_UNNAMED: 1},
        about="The only table of the folder, or the one called `captions` or `metadata`.",
    ),
    Layout(
        "A table for each split",
        {
            **_PHOTOS,
            "photos/train.csv": "image,caption\na.jpg,A red square\n",
            "photos/val.csv": "image,caption\nb.jpg,A blue square\n",
        },
        {"b": _B},
        options={"split": "val"},
        about="Also `captions_train.jsonl` and the like. Without `--split`, all of them.",
    ),
    Layout(
        "Several caption columns",
        {
            "photos/a.jpg": RED,
            "photos/list.csv": "image,caption,caption_2,caption_3\na.jpg,A red square,Red,A square\n",
        },
        {"a": [*_A, ("en", "Red"), ("en", "A square")]},
        source="photos/list.csv",
    ),
    Layout(
        "A column for each language",
        {"photos/a.jpg": RED, "photos/list.csv": "image,caption_en,caption_pt\na.jpg,A red square,Um quadrado\n"},
        {"a": [*_A, ("pt", "Um quadrado")]},
        source="photos/list.csv",
        about="Also `pt_caption`, `caption (Portuguese)` and `caption_pt_2`.",
    ),
    Layout(
        "Columns that look like languages",
        {"photos/a.jpg": RED, "photos/list.csv": "image,caption_id,caption,sentence_no\na.jpg,1790,A red square,1\n"},
        {"a": _A},
        source="photos/list.csv",
        notes={"rows with captions in 'caption' (en), not in 'caption_id', 'sentence_no'": 1},
        about="Ids, numbers and scores are no captions in Indonesian (`id`) or Norwegian (`no`): cells decide. The "
        "summary line says which columns were taken where names leave it open.",
    ),
    Layout(
        "Columns without a usual name",
        {"photos/a.jpg": RED, "photos/list.csv": "image,raw_caption,licence\na.jpg,A red square,CC BY\n"},
        {"a": _A},
        source="photos/list.csv",
        notes={"rows with captions in 'raw_caption' (en)": 1},
        about="Where no column has a usual name: those called after captions (`caption_text`, `generated_text`), else "
        "`description`, `alt`, `legenda`, `texto` or `prompt`, if their cells are sentences.",
    ),
    Layout(
        "A list in a cell",
        {"photos/a.jpg": RED, "photos/list.csv": 'image,captions\na.jpg,"[""A red square"", ""Red""]"\n'},
        {"a": [*_A, ("en", "Red")]},
        source="photos/list.csv",
        about="As JSON, or as Python or numpy print a list.",
    ),
    Layout(
        "TSV",
        {"photos/a.jpg": RED, "photos/list.tsv": 'image\tcaption\na.jpg\t"stop" sign, next to a road\n'},
        {"a": [("en", '"stop" sign, next to a road')]},
        source="photos/list.tsv",
        about="Quotes are part of the text, unless the whole file quotes its cells as CSV does.",
    ),
    Layout(
        "CSV of Excel",
        {"photos/a.jpg": RED, "photos/list.csv": "sep=;\r\nimage;caption\r\na.jpg;Um pássaro\r\n".encode("cp1252")},
        {"a": [("pt", "Um pássaro")]},
        source="photos/list.csv",
        options={"lang": "pt"},
        notes={"lines of list.csv read as cp1252, as they are not UTF-8": 1},
        about="A first line `sep=;`, and the encoding cp1252 where a line is not UTF-8. UTF-16 is read too.",
    ),
    Layout(
        "Flickr8k's captions.txt",
        {"f8k/Images/a.jpg": RED, "f8k/captions.txt": "image,caption\na.jpg,A red square .\na.jpg,Red .\n"},
        {"a": [("en", "A red square ."), ("en", "Red .")]},
        source="f8k",
        about="A table whose images are in a folder `images` or `Images` beside it, or in one of its own name.",
    ),
    Layout(
        "Flickr30k's results.csv",
        {
            "f30k/flickr30k_images/a.jpg": RED,
            "f30k/results.csv": "image_name| comment_number| comment\na.jpg| 0| A red square .\na.jpg| 1| Red .\n",
        },
        {"a": [("en", "A red square ."), ("en", "Red .")]},
        source="f30k/results.csv",
        options={"images": "f30k/flickr30k_images"},
        notes={"rows with captions in 'comment' (en), not in 'comment_number'": 2},
    ),
    Layout(
        "Token files of Flickr8k and Flickr30k",
        {
            "f8k/Images/a.jpg": RED,
            "f8k/Flickr8k.token.txt": "a.jpg#0\tA red square .\na.jpg#1\tRed .\n",
        },
        {"a": [("en", "A red square ."), ("en", "Red .")]},
        source="f8k",
        about="`results_20130124.token` is read too. The images may be in `Flicker8k_Dataset` or `flickr30k-images`.",
    ),
    Layout(
        "JSON lines",
        {
            **_PHOTOS,
            "photos/list.jsonl": '{"image": "a.jpg", "caption": ["A red square", "Red"], "lang": "en"}\n'
            '{"image": "b.jpg", "captions": [{"text": "A blue square"}, {"text": "Azul", "lang": "pt"}]}\n',
        },
        {"a": [*_A, ("en", "Red")], "b": [*_B, ("pt", "Azul")]},
        source="photos/list.jsonl",
        about="A caption is a text, a list, an object (`raw`, `caption`, `text`, with `lang`), or texts by language: "
        '`{"en": …, "pt": …}`.',
    ),
    Layout(
        "Names under several spellings",
        {
            "photos/a.jpg": RED,
            "photos/cafe\u0301.jpg": BLUE,
            "photos/list.csv": "image,caption\na.jpg,A red square\n./a.jpg,Red\ncaf\u00e9.jpg,A blue square\n",
        },
        {"a": [*_A, ("en", "Red")], "caf\u00e9": _B},
        source="photos/list.csv",
        about="`a.jpg`, `./a.jpg` and its absolute path are one image. Accents may be composed in the table and "
        "decomposed on disk, as macOS writes them, or the reverse.",
    ),
]

HUGGING_FACE = [
    Layout(
        "Imagefolder",
        {**_PHOTOS, "photos/metadata.jsonl": '{"file_name": "a.jpg", "text": "A red square"}\n'},
        {"a": _A},
        notes={_UNNAMED: 1},
        about="`metadata.jsonl`, `metadata.csv` or `metadata.parquet`.",
    ),
    Layout(
        "Imagefolder with splits",
        {
            "photos/train/1.jpg": RED,
            "photos/train/metadata.csv": "file_name,text\n1.jpg,A red square\n",
            "photos/test/1.jpg": BLUE,
            "photos/test/metadata.csv": "file_name,text\n1.jpg,A blue square\n",
        },
        {"train/1": _A},
        options={"split": "train"},
        notes={},
        about="Without `--split`, all of them.",
    ),
    Layout(
        "Imagefolder with parquet metadata",
        {"photos/a.jpg": RED, "photos/metadata.parquet": Parquet([{"file_name": "a.jpg", "text": "A red square"}])},
        {"a": _A},
    ),
    Layout(
        "Parquet with images",
        {
            "hf/data/train-00000-of-00001.parquet": Parquet(
                [{"image": {"bytes": RED, "path": "a.jpg"}, "sentences": [{"raw": "A red square", "sentid": 0}]}]
            )
        },
        {"a": _A},
        source="hf",
        about="`--split train` reads the files whose names begin with `train`.",
    ),
    Layout(
        "Parquet with texts by language",
        {
            "hf/a.parquet": Parquet(
                [{"image": {"bytes": RED, "path": "a.jpg"}, "caption": {"en": "Red", "pt": "Vermelho"}}]
            )
        },
        {"a": [("en", "Red"), ("pt", "Vermelho")]},
        source="hf",
    ),
    Layout(
        "Parquet with names or URLs",
        {"photos/a.jpg": RED, "photos/list.parquet": Parquet([{"url": "a.jpg", "text": "A red square"}])},
        {"a": _A},
        source="photos/list.parquet",
        about="As a CSV of the same columns: URLs (`URL`, `TEXT` of LAION) are downloaded.",
    ),
]

_COCO = """{{"images": [{{"id": 7, "file_name": "a.jpg"}}],
 "annotations": [{{"image_id": 7, "caption": "{text}"}}]}}
"""
JSON_LISTS = [
    Layout(
        "COCO",
        {
            "coco/val2017/a.jpg": RED,
            "coco/annotations/captions_val2017.json": _COCO.format(text="A red square"),
            "coco/annotations/captions_val2017_pt.json": _COCO.format(text="Um quadrado"),
        },
        {"a": [*_A, ("pt", "Um quadrado")]},
        source="coco",
        about="The folder, or one of the files. `--split val2017` takes the files of that part. A code at the end of "
        "the name is the language. A file whose images are not there is passed over.",
    ),
    Layout(
        "Karpathy's splits",
        {
            "coco/val2014/a.jpg": RED,
            "coco/dataset_coco.json": '{"images": [{"filepath": "val2014", "filename": "a.jpg", "split": "test",\n'
            '             "sentids": [0], "sentences": [{"raw": "A red square"}]}]}\n',
        },
        {"val2014/a": _A},
        source="coco/dataset_coco.json",
        options={"split": "test"},
    ),
    Layout(
        "LAVIS",
        {
            "coco/val2014/a.jpg": RED,
            "coco/coco_karpathy_val.json": '[{"image": "val2014/a.jpg", "caption": ["A red square", "Red"]}]\n',
        },
        {"val2014/a": [*_A, ("en", "Red")]},
        source="coco/coco_karpathy_val.json",
        about="A list of objects with the fields of a table; also in an object under one name.",
    ),
    Layout(
        "#PraCegoVer",
        {
            "pracegover/images/a.jpg": RED,
            "pracegover/pracegover_400k.json": '{"train": [{"filename": "a.jpg", "caption": "Um quadrado vermelho"}],\n'
            ' "test": [{"filename": "b.jpg", "caption": "Um quadrado azul"}]}\n',
        },
        {"a": [("pt", "Um quadrado vermelho")]},
        source="pracegover",
        options={"lang": "pt", "split": "train"},
        about="Lists of objects by split.",
    ),
    Layout(
        "Captions by file name",
        {**_PHOTOS, "photos/captions.json": '{"a.jpg": ["A red square", "Red"], "b.jpg": "A blue square"}\n'},
        {"a": [*_A, ("en", "Red")], "b": _B},
    ),
]

TOPICS = {"Tables": TABLES, "Hugging Face data sets": HUGGING_FACE, "JSON lists of data sets": JSON_LISTS}
