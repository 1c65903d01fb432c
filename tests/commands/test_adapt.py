"""``adapt``: which commands it runs on which images, and that it goes on where it stopped."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support import variants
from support.made import jpeg, shard_bytes, toy_like

from capivara_cli.cli.perform import Performer
from capivara_cli.commands.adapt import Options, adapt
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.sample import Sample

TOYS = {"lang": "pt", "model": "toy", "captioner": "toy", "n": 1, "translator": "toy", "steps": 2, "batch_size": 4}


def run(inputs: list[str], runs: Path, **options: Any) -> dict[str, Any]:
    given = {**TOYS, "runs": str(runs), "eval": "toy:12", **options}
    return adapt.run(inputs, Options(**given), Performer().env(Settings(energy=False), "adapt"))


def samples(folder: Path) -> list[Sample]:
    found = []
    for shard in sorted(folder.glob("*.tar")):
        with open_shard(str(shard)) as reader:
            found += list(reader)
    return found


def shown(text: str) -> list[str]:
    """The commands that were shown, without the folder of this test."""
    return [line.removeprefix("$ capivara ") for line in text.splitlines() if line.startswith("$ ")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A table of 24 images."""
    (tmp_path / "photos").mkdir()
    rows = ["image,caption,lang"]
    for number, sample in enumerate(toy_like(24)):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(sample.image)
        rows.append(f"{number}.jpg,a photo with number {number},en")
    (tmp_path / "photos" / "captions.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "photos"


def test_every_command_is_shown_and_a_part_of_the_images_is_held_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(["photos/captions.csv"], Path("runs"), eval="heldout", fraction=0.4, min_score=-0.5, seeds=2)
    plan = (
        "caption --captioner toy --n 1 | translate --lang pt --translator toy "
        "| filter --model toy --score-by original --top-k 5"
    )
    train = "train runs/pt-data/train --lang pt --model toy --steps 2 --batch-size 4 --lr 1e-05 --warmup 250"
    assert shown(capsys.readouterr().err) == [
        "pack photos/captions.csv --out runs/pt-data/packed",
        "run 'split --part heldout --fraction 0.4 | translate --lang pt --translator toy' runs/pt-data/packed"
        " --out runs/pt-data/heldout",
        f"run 'split --part train --fraction 0.4 | {plan} --min-score -0.5 | dedupe' runs/pt-data/packed"
        " --out runs/pt-data/train",
        f"{train} --name pt-seed0 --runs runs --seed 0",
        f"{train} --name pt-seed1 --runs runs --seed 1",
        "eval runs/pt-seed0 runs/pt-seed1 runs/pt-data/heldout --model toy --lang en,pt",
    ]
    assert found["runs"] == ["runs/pt-seed0", "runs/pt-seed1"]
    assert [(row["lang"], row["set"]) for row in found["before_and_after"]] == [
        ("en", "runs/pt-data/heldout"),
        ("pt", "runs/pt-data/heldout"),
    ]
    train_keys = {sample.key for sample in samples(Path("runs/pt-data/train"))}
    heldout_keys = {sample.key for sample in samples(Path("runs/pt-data/heldout"))}
    assert not train_keys & heldout_keys
    assert len(train_keys | heldout_keys) == 24


def test_run_again_it_makes_nothing_anew(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run([str(photos / "captions.csv")], tmp_path / "runs")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/pt-data/*/*.tar")}
    weights = tmp_path / "runs/pt/adapter/adapter_model.safetensors"
    files[weights] = weights.stat().st_mtime_ns
    assert len(files) == 3  # packed, train, and what was learned
    again = run([str(photos / "captions.csv")], tmp_path / "runs")
    assert again["before_and_after"] == first["before_and_after"]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    with pytest.raises(CapivaraError, match="holds the result of another plan or other options"):
        run([str(photos / "captions.csv")], tmp_path / "runs", n=2)
    capsys.readouterr()
    with pytest.raises(CapivaraError, match=r"runs/pt: holds a run with --lr 1e-05, now it is --lr 0\.001"):
        run([str(photos / "captions.csv")], tmp_path / "runs", n=2, lr=0.001)
    assert shown(capsys.readouterr().err) == []  # said before the images are captioned anew


def test_alt_texts_of_foreign_shards_are_not_lost(tmp_path: Path) -> None:
    """Shards of img2dataset have their caption where no stage looks for it: they are packed first."""
    (tmp_path / "cc3m").mkdir()
    with tarfile.open(tmp_path / "cc3m" / "00000.tar", "w") as tar:
        for number in range(6):
            text, image = f"a red square number {number}".encode(), jpeg((200, 30 * number, 30))
            for name, data in (("jpg", image), ("txt", text), ("json", b'{"url": "x"}')):
                member = tarfile.TarInfo(f"{number:09d}.{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    run([str(tmp_path / "cc3m")], tmp_path / "runs")
    alt = [
        [each.text for each in sample.captions if each.of is None]
        for sample in samples(tmp_path / "runs/pt-data/train")
    ]
    assert all(f"a red square number {number}" in texts for number, texts in enumerate(alt))


def test_what_a_recipe_says_of_its_images(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as caught:
        run([], tmp_path / "runs", recipe="capivara")
    assert (caught.value.message, "pixparse/cc3m-wds" in caught.value.hint) == ("adapt: which images?", True)
    mine = tmp_path / "mine.toml"
    mine.write_text(
        f'input = [{json.dumps(str(photos / "captions.csv"))}]\n[[plan]]\nstep = "translate"\nlang = "pt"\n'
    )
    options = Options(recipe=str(mine), lang="pt", model="toy", translator="toy", steps=1, batch_size=4, eval="toy:12")
    found = adapt.run([], options, Performer().env(Settings(energy=False, out=str(tmp_path / "runs")), "adapt"))
    assert found["run"] == str(tmp_path / "runs" / "mine-pt")
    assert len(samples(tmp_path / "runs/mine-pt-data/train")) == 24


def without_captions(folder: Path, count: int = 24) -> Path:
    """A folder of photos, and nothing else."""
    folder.mkdir()
    for number, sample in enumerate(toy_like(count)):
        (folder / f"{number:02d}.jpg").write_bytes(sample.image)
    return folder


def test_held_out_photos_without_captions_are_captioned_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    without_captions(tmp_path / "photos")
    found = run(["photos"], Path("runs"), eval="heldout", fraction=0.4)
    said = capsys.readouterr().err
    assert "warning: the held-out images have no captions, so toy writes some" in said
    plan = "split --part heldout --fraction 0.4 | caption --captioner toy --n 1 | translate --lang pt --translator toy"
    assert f"run '{plan}' runs/pt-data/packed --out runs/pt-data/heldout" in shown(said)
    assert "(synthetic): captions by a captioner, not by people" in said
    assert [(row["lang"], row["synthetic"]) for row in found["before_and_after"]] == [("en", True), ("pt", True)]
    rows = json.loads(Path("runs/pt/eval.json").read_text())["retrieval"]
    assert rows and all(row["synthetic"] for row in rows)
    assert [row["machine_translated"] for row in rows if row["lang"] == "pt"] == [True, True]
    card = Path("runs/pt/MODEL_CARD.md").read_text("utf-8")
    assert "(synthetic: captions by a captioner, not by people)" in card and "captions by a captioner" in card


def test_captions_of_people_are_not_marked_not_replaced_and_measured_on_their_own(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(photos / "captions.csv", "a") as table:
        table.writelines(f"{number}.jpg,uma foto de número {number},pt\n" for number in range(0, 24, 2))
    found = run([str(photos / "captions.csv")], tmp_path / "runs", eval="heldout", fraction=0.4)
    marks = [(row["lang"], row["people"], row["machine_translated"]) for row in found["before_and_after"]]
    assert marks == [("en", False, False), ("pt", False, True), ("pt", True, False)]
    images = [row["n_images"] for row in found["before_and_after"]]
    assert images[0] == images[1] > images[2] >= 2
    assert all(row["gain_interval"] for row in found["before_and_after"])
    said = capsys.readouterr().err
    assert re.search(r"\npt ← \(MT\) +\d", said) and re.search(r"\npt ← \(people\) +\d", said)
    assert f"few images ({images[0]})" in said and "THIS IS A TOY" in said
    assert "show each of" not in said
    rows = json.loads((tmp_path / "runs/pt/eval.json").read_text())["retrieval"]
    assert rows and not any(row["synthetic"] for row in rows)
    heldout = [each.by for sample in samples(tmp_path / "runs/pt-data/heldout") for each in sample.captions]
    assert not any(name == "toy" or name.startswith("toy-") for name in heldout)


def test_without_captions_and_without_a_captioner_an_eval_set_is_asked_for(tmp_path: Path) -> None:
    without_captions(tmp_path / "photos", 8)
    mine = tmp_path / "mine.toml"
    mine.write_text('[[plan]]\nstep = "translate"\nlang = "pt"\n')
    options = Options(recipe=str(mine), lang="pt", model="toy", translator="toy", steps=1, fraction=0.5,
                      runs=str(tmp_path / "runs"))  # fmt: skip
    with pytest.raises(
        CapivaraError, match="the held-out images have no captions, and recipe mine writes none"
    ) as caught:
        adapt.run([str(tmp_path / "photos")], options, Performer().env(Settings(energy=False), "adapt"))
    assert "--eval SET" in caught.value.hint
    assert not (tmp_path / "runs/mine-pt-data/heldout").exists()


@pytest.mark.parametrize("change", variants.some(["removed", "replaced"], 1))
def test_photos_that_changed_are_gone_from_everything_after_them(change: str, tmp_path: Path) -> None:
    photos, runs = without_captions(tmp_path / "photos", 12), tmp_path / "runs"
    run([str(photos)], runs)
    before = {sample.key for sample in samples(runs / "pt-data/train")}
    if change == "removed":
        (photos / "03.jpg").unlink()
    else:
        (photos / "03.jpg").write_bytes(jpeg((1, 2, 3), (80, 60)))
    with pytest.raises(CapivaraError, match=r"runs/pt: was trained on .*photos before files were added, removed"):
        run([str(photos)], runs)
    assert {sample.key for sample in samples(runs / "pt-data/train")} == before
    shutil.rmtree(runs / "pt")
    run([str(photos)], runs)
    clean = tmp_path / "clean"
    run([str(photos)], clean)
    for part in ("packed", "train"):
        kept, expected = (
            [(each.key, each.image) for each in samples(each / f"pt-data/{part}")] for each in (runs, clean)
        )
        assert kept == expected
    documents = [json.loads((each / "pt/run.json").read_text()) for each in (runs, clean)]
    assert documents[0]["data"] == documents[1]["data"]
    assert documents[0]["adapter_sha256"] == documents[1]["adapter_sha256"]


@variants.only_with_all("photos that changed, above")
def test_shards_that_were_removed_are_gone_from_everything_after_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        (tmp_path / "in" / f"{number:05d}.tar").write_bytes(shard_bytes(toy_like(8, 8 * number)))
    run([str(tmp_path / "in")], tmp_path / "runs")
    (tmp_path / "in" / "00001.tar").unlink()
    shutil.rmtree(tmp_path / "runs" / "pt")
    run([str(tmp_path / "in")], tmp_path / "runs")
    assert {sample.key for sample in samples(tmp_path / "runs/pt-data/train")} == {f"{n:05d}" for n in range(8)}
    assert json.loads((tmp_path / "runs/pt/run.json").read_text())["data"]["samples"] == 8
