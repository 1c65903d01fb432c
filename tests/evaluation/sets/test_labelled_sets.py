"""The sets of labelled images: every file of class names, and images from folders, the hub's cache, or an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.made import jpeg
from support.webdatasets import write_webdataset

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.evalset import check_names, check_templates
from capivara_cli.evaluation.sets import _download, _labelled, babel_imagenet
from capivara_cli.evaluation.sets._images import class_mapping, folded
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings

SIZES = {
    "caltech101": 102, "cifar10": 10, "cifar100": 100, "country211": 211, "dtd": 47, "eurosat": 10, "fer2013": 7,
    "fgvc-aircraft": 100, "flowers102": 102, "food101": 101, "gtsrb": 43, "hateful-memes": 2, "imagenet": 1000,
    "kitti-distance": 4, "mnist": 10, "objectnet": 113, "oxford-pets": 37, "patch-camelyon": 2, "rendered-sst2": 2,
    "resisc45": 45, "stanford-cars": 196, "stl10": 10, "sun397": 397, "voc2007": 20,
}  # fmt: skip
OTHER_METRICS = {
    "caltech101": "mean-per-class", "fgvc-aircraft": "mean-per-class", "flowers102": "mean-per-class",
    "oxford-pets": "mean-per-class", "voc2007": "map-11-point", "hateful-memes": "roc-auc",
}  # fmt: skip


def environment() -> Env:
    return Env(Settings(device="cpu"), "eval")


def load(name: str, variant: str = "", *, lang: str = "en", data: object = "", split: str = "test"):
    return _labelled.load(name, variant, lang=lang, data=str(data), split=split, env=environment())


def labelled(found) -> list[tuple[str, int]]:
    return [(each.key, int(each.members["cls"])) for each in found.samples]


# --- the files ---
def test_the_sets_are_these():
    assert {name: _labelled.read(name).classes for name in _labelled.names()} == SIZES


@pytest.mark.parametrize(("one", "other"), [("काला", "कीला"), ("காலி", "கீலா"), ("కాలు", "కీలు"), ("မာန်", "မိန်")])
def test_class_names_keep_their_vowel_signs(one: str, other: str) -> None:
    """Black and nail would be one class if only their consonants were compared."""
    assert folded(one) != folded(other)
    assert folded(f"{one}-{other}") == folded(f"{one}_{other} ")


@pytest.mark.parametrize("name", SIZES)
def test_every_class_has_one_name_in_every_language(name):
    labels = _labelled.read(name)
    assert labels.name == name
    assert labels.metric == OTHER_METRICS.get(name, "accuracy")
    assert set(labels.names) == set(labels.templates) == set(labels.names_by) <= {"en", "pt"}
    for lang, names in labels.names.items():
        assert len(names) == SIZES[name]
        check_names(names, f"{name} ({lang})")  # none empty, no two the same
        assert len({each.casefold() for each in names}) == len(names)
        assert [" ".join(each.split()) for each in names] == list(names)
        check_templates(labels.templates[lang], name)
        assert [template.count("{}") for template in labels.templates[lang]] == [1] * len(labels.templates[lang])
        assert len(set(labels.templates[lang])) == len(labels.templates[lang])
    assert 10 < len(labels.title) < 120
    assert (
        labels.licence
        and labels.homepage.startswith("http")
        and labels.hub.startswith("clip-benchmark/wds_" * bool(labels.hub))
    )
    assert all(source["licence"] and source["source"] and source["what"] for source in labels.sources)


@pytest.mark.parametrize("name", SIZES)
def test_every_class_is_told_apart_by_the_name_of_its_folder(name):
    labels = _labelled.read(name)
    assert len({folded(each) for each in labels.names["en"]}) == SIZES[name]
    if labels.folders:
        assert len({folded(each) for each in labels.folders}) == SIZES[name]
    if name in ("imagenet", "objectnet", "country211", "eurosat", "fer2013"):  # made from folders in their order
        assert list(labels.folders) == sorted(labels.folders)


@pytest.mark.parametrize("name", [name for name in SIZES if "elevater" in _labelled.read(name).groups])
def test_the_lists_of_the_paper_are_as_they_were(name):
    paper = _labelled.read(name).paper["pt"]
    assert len(paper["names"]) == (100 if name == "food101" else SIZES[name])
    assert all("{}" in template for template in paper["templates"])


def test_the_paper_has_9937_prompts_and_1150_names():
    papers = [_labelled.read(name).paper["pt"] for name in SIZES if "elevater" in _labelled.read(name).groups]
    assert sum(len(each["names"]) for each in papers) == 1150
    assert sum(len(each["names"]) * len(each["templates"]) for each in papers) == 9937


def test_known_mistakes_are_mended_and_kept_for_the_paper():
    def pair(name: str, english: str) -> tuple[str, str]:
        labels = _labelled.read(name)
        place = list(labels.names["en"]).index(english)
        return labels.paper["pt"]["names"][place], labels.names["pt"][place]

    assert pair("cifar100", "seal") == ("selo", "foca")
    assert pair("cifar100", "plate") == ("placa", "prato")
    assert pair("cifar100", "streetcar") == ("trailer", "bonde")
    assert pair("cifar100", "bottle") == ("frasco", "garrafa")
    assert pair("voc2007", "bottle") == ("frasco", "garrafa")
    assert pair("caltech101", "bass") == ("baixo", "robalo")
    assert pair("caltech101", "schooner") == ("velha-de-escócia", "escuna")
    assert pair("imagenet", "ladle") == ("concha", "concha de cozinha")
    assert pair("cifar10", "cat") == ("gato", "gato")
    paper = _labelled.read("imagenet").paper["pt"]["names"]
    assert len(paper) - len(set(paper)) == 6


def test_food_101_of_the_paper_has_lost_tacos():
    labels = _labelled.read("food101")
    assert labels.names["en"][96:] == ["tacos", "takoyaki", "tiramisu", "tuna tartare", "waffles"]
    assert labels.names["pt"][96:] == ["tacos", "takoyaki", "tiramisu", "tartare de atum", "waffles"]
    assert labels.paper["pt"]["names"][95:] == ["sushi", "takoyaki", "tiramisú", "tartar de atum", "waffles"]


def test_classes_are_in_the_order_of_clip_benchmark():
    import importlib.util

    spec = importlib.util.find_spec("clip_benchmark")
    if spec is None or spec.origin is None:
        pytest.skip("clip_benchmark is not installed")
    theirs = json.loads((Path(spec.origin).parent / "datasets" / "en_classnames.json").read_text("utf-8"))
    compared = {
        "caltech101": "caltech101_vtab", "country211": "country211", "eurosat": "eurosat", "fer2013": "fer2013",
        "flowers102": "flowers", "gtsrb": "gtsrb", "kitti-distance": "kitti_closest_vehicle_distance",
        "mnist": "mnist", "oxford-pets": "pets", "patch-camelyon": "pcam",
    }  # fmt: skip
    for ours, key in compared.items():
        names = _labelled.read(ours).names["en"]
        assert [folded(each) for each in names] == [folded(each) for each in theirs[key]], ours
    imagenet = list(_labelled.read("imagenet").names["en"])
    different = [place for place, name in enumerate(imagenet) if name != theirs["imagenet1k"][place]]
    assert (different, imagenet[744], imagenet[836]) == ([744, 836], "projectile", "sunglass")


def test_orders_that_follow_from_the_distribution():
    """TFDS and torchvision sort the names of classes or folders; the car models are in the order of the devkit."""
    for name in ("cifar100", "food101", "resisc45", "dtd", "cifar10", "voc2007"):
        names = [each.replace(" ", "_") for each in _labelled.read(name).names["en"]]
        assert names == sorted(names), name
    aircraft = _labelled.read("fgvc-aircraft").names["en"]
    assert list(aircraft) == sorted(aircraft)
    assert _labelled.read("stanford-cars").names["en"][11:14] == [
        "Audi RS 4 Convertible 2008", "Audi A5 Coupe 2012", "Audi TTS Coupe 2012",
    ]  # fmt: skip
    assert _labelled.read("imagenet").folders[:2] == ["n01440764", "n01443537"]
    reordered = {name for name in SIZES if _labelled.read(name).reordered}
    assert reordered == {"caltech101", "cifar100", "fgvc-aircraft", "food101", "stanford-cars"}


def test_the_files_are_in_the_package():
    assert _labelled.FOLDER.parent.parent.parent.name == "capivara_cli"
    assert len(list(_labelled.FOLDER.glob("*.json"))) == len(SIZES)


# --- variants, languages ---
def test_the_paper_variant_warns_of_its_missing_name(tmp_path, capsys):
    tree(tmp_path, _labelled.read("food101").names["en"])
    found = load("food101", "paper", lang="pt", data=tmp_path)
    assert (found.name, found.names_by, len(found.classes)) == ("food101:paper", "CAPIVARA (paper)", 100)
    assert found.templates == ("uma foto de um {}, um tipo de alimento.",)
    assert "food101:paper: the paper's list has 100 names for 101 classes" in capsys.readouterr().err
    assert load("food101", lang="pt", data=tmp_path).names_by == "CAPIVARA, corrected"
    assert capsys.readouterr().err == ""


def test_what_a_set_has_not_is_refused():
    assert _labelled.languages("sun397", "") == ("en",)
    assert _labelled.languages("imagenet", "paper") == ("pt",)
    with pytest.raises(CapivaraError, match="sun397:paper: sun397 has no variants"):
        load("sun397", "paper")
    with pytest.raises(
        CapivaraError, match="there is no variant of mnist 'papre'; there are paper — did you mean paper"
    ):
        load("mnist", "papre")
    with pytest.raises(CapivaraError, match="there is no language in mnist 'hi'; there are en, pt"):
        load("mnist", lang="hi")
    with pytest.raises(CapivaraError, match="there is no language in mnist:paper 'en'; there are pt"):
        load("mnist", "paper")
    with pytest.raises(CapivaraError, match="there is no split of mnist 'tset'; there are test, train, val — did"):
        load("mnist", split="tset")


# --- folders for classes ---
def tree(root: Path, names, images: int = 1) -> Path:
    for number, name in enumerate(names):
        folder = root / str(name).replace("/", "-")
        folder.mkdir(parents=True)
        for image in range(images):
            (folder / f"{image}.jpg").write_bytes(jpeg((number, image, 0), (8, 8)))
    return root


def test_folders_named_by_class(tmp_path):
    tree(
        tmp_path / "test", ["River", "annual_crop_land", *_labelled.read("eurosat").names["en"][1:8], "Lake or Sea"], 2
    )
    tree(tmp_path / "train", _labelled.read("eurosat").names["en"])
    (tmp_path / "test" / "River" / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "test" / "notes").mkdir()
    found = load("eurosat", lang="pt", data=tmp_path)
    samples = labelled(found)
    assert samples[:3] == [("annual_crop_land/0", 0), ("annual_crop_land/1", 0), ("forest/0", 1)]
    assert samples[-4:] == [("River/0", 8), ("River/1", 8), ("Lake or Sea/0", 9), ("Lake or Sea/1", 9)]
    assert found.classes[8:] == ("rio", "lago ou mar")
    assert found.provenance.obtained == f"local copy in {tmp_path}"
    assert (found.provenance.split, found.provenance.licence) == ("test", "MIT")
    trained = list(load("eurosat", data=tmp_path, split="train").samples)
    assert (len(trained), trained[0].image) == (10, jpeg((0, 0, 0), (8, 8)))


def test_folders_directly_in_the_folder_are_the_test_images(tmp_path):
    tree(tmp_path, ["positive", "negative"])
    assert labelled(load("rendered-sst2", data=tmp_path)) == [("negative/0", 0), ("positive/0", 1)]
    with pytest.raises(CapivaraError, match="no images of the split train of rendered-sst2") as caught:
        load("rendered-sst2", data=tmp_path, split="train")
    assert "DIR/test/CLASS/*.jpg" in caught.value.hint and "nshards.txt" in caught.value.hint


def test_strange_and_missing_folders_are_refused(tmp_path):
    tree(tmp_path, ["positive", "neutral", "mixed"])
    with pytest.raises(CapivaraError, match=r"folder 'mixed' \(and 1 more\) is not a class of this set") as caught:
        load("rendered-sst2", data=tmp_path)
    assert "negative, positive" in caught.value.hint
    tree(tmp_path / "other", ["positive"])
    with pytest.raises(CapivaraError, match="no folder with images of class 'negative'"):
        load("rendered-sst2", data=tmp_path / "other")
    with pytest.raises(CapivaraError, match="no such folder"):
        load("rendered-sst2", data=tmp_path / "nowhere")


def test_numbered_folders(tmp_path):
    tree(tmp_path / "zero", range(10))
    assert labelled(load("mnist", data=tmp_path / "zero"))[9] == ("9/0", 9)
    tree(tmp_path / "padded", [f"{number:05d}" for number in range(43)])
    assert labelled(load("gtsrb", data=tmp_path / "padded"))[42] == ("00042/0", 42)
    tree(tmp_path / "one", range(1, 103))
    assert labelled(load("flowers102", data=tmp_path / "one"))[-1] == ("102/0", 101)
    tree(tmp_path / "few", range(9))
    with pytest.raises(CapivaraError, match="no folder with images of class '9'"):
        load("mnist", data=tmp_path / "few")
    tree(tmp_path / "many", [*range(9), 12])
    with pytest.raises(CapivaraError, match="folder 12: the classes are 0 to 9"):
        load("mnist", data=tmp_path / "many")


def test_numbers_mean_nothing_where_copies_disagree(tmp_path):
    tree(tmp_path, range(100))
    with pytest.raises(CapivaraError, match="copies of this set number the classes differently") as caught:
        load("cifar100", data=tmp_path)
    assert "classnames.txt" in caught.value.hint
    names = list(_labelled.read("cifar100").names["en"])
    (tmp_path / "labelmap.txt").write_text("\n".join(reversed(names)) + "\n")
    assert labelled(load("cifar100", data=tmp_path))[0] == ("99/0", 0)


def test_official_folder_names(tmp_path):
    labels = _labelled.read("imagenet")
    tree(tmp_path / "val", labels.folders)
    found = load("imagenet", data=tmp_path)
    samples = labelled(found)
    assert samples[:2] == [("n01440764/0", 0), ("n01443537/0", 1)]
    assert (found.provenance.split, len(found.classes), len(found.templates)) == ("val", 1000, 80)
    assert labelled(load("imagenet", data=tmp_path, split="val")) == samples


def test_folders_as_they_are_distributed(tmp_path):
    for name, folder, number in (
        ("caltech101", "BACKGROUND_Google", 4), ("caltech101", "Faces_easy", 38), ("country211", "XK", 206),
        ("eurosat", "SeaLake", 9), ("fer2013", "disgust", 1),
    ):  # fmt: skip
        root = tmp_path / name
        if not root.is_dir():
            tree(root, _labelled.read(name).folders)
        assert (f"{folder}/0", number) in labelled(load(name, data=root))
    assert _labelled.read("country211").names["en"][206] == "Kosovo"


def test_objectnet_leaves_the_classes_out_that_imagenet_has_not(tmp_path):
    tree(tmp_path, [*_labelled.read("objectnet").folders, "air_freshener"])
    found = load("objectnet", data=tmp_path)
    samples = labelled(found)
    assert (len(samples), samples[0], samples[-1]) == (113, ("alarm_clock/0", 0), ("wok/0", 112))
    assert (found.classes[0], found.classes[-1]) == ("alarm clock", "wok")


# --- webdatasets ---
def test_a_webdataset_in_a_folder(tmp_path):
    write_webdataset(tmp_path, "test", [[("a", {"cls": b"3"}), ("b", {"cls": b"0\n"})], [("c", {"cls": b"9"})]])
    write_webdataset(tmp_path, "train", [[("d", {"cls": b"1"})]])
    assert labelled(load("mnist", data=tmp_path)) == [("a", 3), ("b", 0), ("c", 9)]
    assert labelled(load("mnist", data=tmp_path, split="train")) == [("d", 1)]
    assert next(iter(load("mnist", data=tmp_path).samples)).image == jpeg((0, 0, 0), (8, 8))
    (tmp_path / "test" / "1.tar").unlink()
    with pytest.raises(CapivaraError, match=r"1\.tar of 2 shards missing"):
        load("mnist", data=tmp_path)
    (tmp_path / "test" / "nshards.txt").write_text("many")
    with pytest.raises(CapivaraError, match=r"nshards\.txt: 'many' is not a number of shards"):
        load("mnist", data=tmp_path)


def test_the_classes_of_a_webdataset_are_put_in_our_order(tmp_path):
    write_webdataset(tmp_path, "test", [[("a", {"cls": b"0"}), ("b", {"cls": b"9"})]])
    theirs = list(reversed(_labelled.read("cifar10").names["en"]))
    (tmp_path / "classnames.txt").write_text("\n".join(theirs) + "\n")
    assert labelled(load("cifar10", data=tmp_path)) == [("a", 9), ("b", 0)]
    theirs[4] = "hound"
    (tmp_path / "classnames.txt").write_text("\n".join(theirs) + "\n")
    with pytest.raises(CapivaraError, match="'truck' is class 0 there and class 9 of this set"):
        load("cifar10", data=tmp_path)
    (tmp_path / "classnames.txt").write_text("\n".join(theirs[1:]) + "\n")
    with pytest.raises(CapivaraError, match="9 class names, and the set has 10 classes"):
        load("cifar10", data=tmp_path)


def test_names_that_are_spelled_otherwise_in_the_same_order_are_the_same():
    assert class_mapping(["a cat", "dog"], ["A_cat", "hound"], "x") is None
    assert class_mapping(["a", "b"], [], "x") is None
    assert class_mapping(["a", "b", "c"], ["a", "b", "b"], "x") is None  # repeated names, as in published lists
    assert class_mapping(["a", "b", "c"], ["c", "a", "b"], "x") == [2, 0, 1]


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """The hub's cache with the test images of MNIST, as the hub's own client lays it out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "datasets--clip-benchmark--wds_mnist"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc123")
    write_webdataset(repo / "snapshots" / "abc123", "test", [[("a", {"cls": b"3"})], [("b", {"cls": b"4"})]])
    return repo / "snapshots" / "abc123"


def test_images_from_the_hub(hub_cache):
    found = load("mnist", lang="pt")
    assert labelled(found) == [("a", 3), ("b", 4)]
    assert found.provenance.obtained == "downloaded from clip-benchmark/wds_mnist@abc123"


def test_half_a_download_is_no_set(hub_cache):
    (hub_cache / "test" / "1.tar").unlink()
    with pytest.raises(
        CapivaraError, match=r"the images of mnist \(test\) of clip-benchmark/wds_mnist are needed, but"
    ):
        load("mnist")


def test_without_a_connection_the_error_says_how_to_go_on(hub_cache):
    for name, split in (("mnist", "train"), ("imagenet", "test")):
        with pytest.raises(CapivaraError, match="are needed, but HF_HUB_OFFLINE is set") as caught:
            load(name, split=split)
        for way in ("--data DIR", "DIR/test/CLASS/*.jpg", "nshards.txt", "licence of the data", "HF_HOME"):
            assert way in caught.value.hint
    with pytest.raises(CapivaraError, match="mnist: only test and train can be downloaded, not val"):
        load("mnist", split="val")


# --- sets of their own layout ---
def test_hateful_memes_from_its_own_files(tmp_path):
    with pytest.raises(CapivaraError, match="hateful-memes: the images cannot be downloaded") as caught:
        load("hateful-memes")
    assert "dev_seen.jsonl" in caught.value.hint
    (tmp_path / "img").mkdir()
    with pytest.raises(CapivaraError, match=r"has no dev_seen\.jsonl or dev\.jsonl"):
        load("hateful-memes", data=tmp_path)
    memes = [{"id": 1, "img": "img/1.png", "label": 1, "text": "x"}, {"id": 2, "img": "img/2.png", "label": 0}]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(each) + "\n" for each in memes))
    (tmp_path / "img" / "1.png").write_bytes(b"image 1")
    found = load("hateful-memes", lang="pt", data=tmp_path)
    samples = list(found.samples)
    assert [(each.key, dict(each.members)) for each in samples] == [
        ("1", {"png": b"image 1", "cls": b"1"}), ("2", {"cls": b"0"}),
    ]  # fmt: skip
    assert (found.metric, found.classes) == ("roc-auc", ("meme", "meme com discurso de ódio"))
    digest = hashlib.sha256((tmp_path / "dev.jsonl").read_bytes()).hexdigest()
    assert found.provenance.checksums == {"dev.jsonl": f"sha256:{digest}"}
    (tmp_path / "dev.jsonl").write_text('{"img": "img/1.png"}\n')
    with pytest.raises(CapivaraError, match="not a list of memes with img and label"):
        load("hateful-memes", data=tmp_path)


def voc(root: Path, keys: dict[str, list[str]]) -> Path:
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets" / "Main" / "test.txt").write_text("".join(f"{key}\n" for key in keys))
    for key, names in keys.items():
        objects = "".join(f"<object><name>{name}</name><difficult>1</difficult></object>" for name in names)
        (root / "Annotations" / f"{key}.xml").write_text(f"<annotation>{objects}</annotation>")
        (root / "JPEGImages" / f"{key}.jpg").write_bytes(jpeg(size=(8, 8)))
    return root


def test_voc_from_its_own_files(tmp_path):
    root = voc(tmp_path / "VOCdevkit" / "VOC2007", {"000001": ["person", "dog", "dog"], "000002": ["aeroplane"]})
    found = load("voc2007", lang="pt", data=tmp_path)
    assert [(each.key, each.document) for each in found.samples] == [
        ("000001", {"classes": [11, 14]}), ("000002", {"classes": [0]}),
    ]  # fmt: skip
    assert (found.metric, found.classes[4]) == ("map-11-point", "garrafa")
    (root / "JPEGImages" / "000001.jpg").unlink()
    assert [list(each.members) for each in load("voc2007", data=root).samples] == [["json"], ["jpg", "json"]]
    with pytest.raises(CapivaraError, match=r"train\.txt does not exist"):
        load("voc2007", data=tmp_path, split="train")
    (root / "Annotations" / "000002.xml").write_text("<annotation><object><name>ufo</name></object></annotation>")
    with pytest.raises(CapivaraError, match=r"000002\.xml: not an annotation of VOC 2007"):
        load("voc2007", data=tmp_path)
    with pytest.raises(CapivaraError, match="has no copy of voc2007") as caught:
        load("voc2007", data=root / "JPEGImages")
    assert "VOCdevkit/VOC2007" in caught.value.hint


# --- Babel-ImageNet ---
BABEL = {"XH": [[1, 5, 9], ["intlanzi", "inja", "inja"]], "BR": [[2, 3], ["pesk", "ki"]]}
PROMPTS = {"XH": ["ifoto ye{}.", "{}"]}


@pytest.fixture
def babel(tmp_path) -> Path:
    (tmp_path / babel_imagenet.NAMES).write_text(json.dumps(BABEL))
    (tmp_path / babel_imagenet.PROMPTS).write_text(json.dumps(PROMPTS))
    write_webdataset(tmp_path, "test", [[("a", {"cls": b"5"}), ("b", {"cls": b"999"})]])
    return tmp_path


def load_babel(lang: str, data: object = "", split: str = "test"):
    return babel_imagenet.load("", lang=lang, data=str(data), split=split, env=environment())


def test_babel_imagenet_from_a_folder(babel, capsys):
    found = load_babel("xh", babel)
    assert (found.classes, found.class_ids) == (("intlanzi", "inja", "inja"), (1, 5, 9))
    assert found.templates == ("ifoto ye{}.", "{}")
    assert labelled(found) == [("a", 5), ("b", 999)]  # all images, whatever the language has names for
    assert set(found.provenance.checksums) == {babel_imagenet.NAMES, babel_imagenet.PROMPTS}
    assert "BabelNet non-commercial" in found.provenance.licence
    assert "babel-imagenet (xh): 1 of 3 names repeat another" in capsys.readouterr().err
    assert load_babel("br", babel).templates == ()  # names, and no prompts
    english = load_babel("en", babel)
    assert (len(english.classes), len(english.templates), english.class_ids) == (1000, 80, ())


def test_babel_imagenet_from_a_clone_or_a_file(babel, tmp_path, hub_cache):
    clone = tmp_path / "clone"
    (clone / "data").mkdir(parents=True)
    for name in (babel_imagenet.NAMES, babel_imagenet.PROMPTS):
        (babel / name).rename(clone / "data" / name)
    for data in (clone, clone / "data" / babel_imagenet.NAMES):
        with pytest.raises(CapivaraError, match=r"the images of imagenet \(test\)"):  # the names were found
            load_babel("xh", data)
    write_webdataset(clone / "imagenet", "test", [[("z", {"cls": b"1"})]])
    assert labelled(load_babel("xh", clone)) == [("z", 1)]


def test_babel_imagenet_is_checked(babel):
    with pytest.raises(CapivaraError, match=r"no names in hi \(HI\) in it"):
        load_babel("hi", babel)
    for wrong in ([[1, 1], ["a", "b"]], [[1], ["a", "b"]], [[1000], ["a"]], [[1], [" "]], [1, 2], {"a": 1}):
        (babel / babel_imagenet.NAMES).write_text(json.dumps({"XH": wrong}))
        with pytest.raises(CapivaraError, match="XH is not a list of class numbers and a list of names"):
            load_babel("xh", babel)
    (babel / babel_imagenet.NAMES).write_text("{")
    with pytest.raises(CapivaraError, match="not a file of Babel-ImageNet"):
        load_babel("xh", babel)
    with pytest.raises(CapivaraError, match="there is no language in babel-imagenet 'mi'"):
        load_babel("mi", babel)
    with pytest.raises(CapivaraError, match="babel-imagenet has no variants"):
        babel_imagenet.load("x", lang="xh", data=str(babel), split="test", env=environment())
    with pytest.raises(CapivaraError, match="no such file or folder"):
        load_babel("xh", babel / "nowhere")


def test_babel_imagenet_knows_its_languages():
    codes = babel_imagenet.languages("")
    assert (len(codes), len(set(codes))) == (93, 93)
    assert {"pt", "hi", "xh", "nb", "en"} <= set(codes)


def test_babel_imagenet_without_a_connection(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path))
    with pytest.raises(CapivaraError, match="class names of Babel-ImageNet") as caught:
        load_babel("xh")
    assert f"DIR/{babel_imagenet.NAMES}" in caught.value.hint


def test_babel_imagenet_is_downloaded_at_one_commit(babel, tmp_path, monkeypatch):
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    served = {name: (babel / name).read_bytes() for name in babel_imagenet.REMOTES}
    for name in served:
        (babel / name).unlink()
    asked: list[_download.Remote] = []

    def fetch(remote: _download.Remote, path: Path, layout: str) -> Path:
        asked.append(remote)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(served[path.name])
        return path

    monkeypatch.setattr(_download, "fetch", fetch)
    assert load_babel("xh", babel).class_ids == (1, 5, 9)
    commit = "317c49896f04bc61d0c7a5dfc6fd4e3b0d8a9430"
    folder = f"https://raw.githubusercontent.com/gregor-ge/Babel-ImageNet/{commit}/data"
    assert [each.url for each in asked] == [f"{folder}/{name}" for name in served]
    assert [len(each.sha256) for each in asked] == [64, 64]
    kept = sorted(path.name for path in (tmp_path / "cache").rglob("*.json"))
    assert kept == [babel_imagenet.NAMES, babel_imagenet.PROMPTS]
    load_babel("en", babel)
    assert len(asked) == 2  # English has the names of ImageNet
