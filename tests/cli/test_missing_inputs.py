"""What a command line names and does not exist is known before any work: no model is built, nothing is written."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.made import shard_bytes, toy_like
from support.rehearsing import tree

from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.perform import perform
from capivara_cli.errors import CapivaraError
from capivara_cli.models import build
from capivara_cli.pipeline.options import Settings
from capivara_cli.stages.deduplication.image_facts import ImageExaminer

TRAIN = "train shards --lang en --model toy --steps 1"
ADAPT = "adapt shards --lang pt --captioner toy --translator toy --model toy --steps 1"

LINES = [
    ("caption shards nowhere --captioner toy --out out", "nowhere: no such file or folder"),
    ("run 'split | caption --captioner toy' shards nowhere.tar --out out", "nowhere.tar: no such file or folder"),
    ("run 'caption --captioner toy | caption --prefixes nowhere' shards --out out", "nowhere"),
    ("run 'caption --captioner toy | translate --lang pt --package nowhere' shards --out out",
     "no such package: nowhere"),
    ("run 'caption --captioner toy | translate --lang pt --translator argos:nowhere' shards --out out",
     "no such package: nowhere"),
    ("run 'caption --captioner toy | rewrite --rewriter eda --synonyms nowhere' shards --out out", "nowhere"),
    ("run 'caption --captioner toy | rewrite --exemplars nowhere' shards --out out", "nowhere"),
    ("run 'caption --captioner toy | filter --model local-dir:nowhere' shards --out out", "nowhere: no such folder"),
    ("dedupe shards --against shards,nowhere --out out", "nowhere"),
    ("dedupe shards --against shards,empty --out out", "empty: no .tar shards in this folder"),
    ("dedupe shards --against 'shards,nowhere/*.tar' --out out", "nowhere/*.tar: nothing matches"),
    ("pack photos nowhere --out out", "nowhere: no such file or folder"),
    ("pack photos/a.csv --images nowhere --out out", "--images nowhere: no such folder"),
    (f"{TRAIN} --val nowhere", "nowhere: no such file or folder"),
    (f"{TRAIN} --val empty", "empty: no .tar shards in this folder"),
    (f"{TRAIN} --val flickr31k", "flickr31k"),
    (f"{TRAIN} --objective distill --teacher nowhere", "there is no model 'nowhere'"),
    (f"{TRAIN} --objective distill --teacher runs/unfinished", "runs/unfinished: unfinished: step 0 of 2"),
    (f"{TRAIN} --objective distill --teacher photos", "photos: no open_clip_config.json: not an open_clip folder"),
    (f"{TRAIN} --continue-from nowhere", "nowhere: not an adapter"),
    ("train shards nowhere --lang en --model toy", "nowhere: no such file or folder"),
    ("train shards --lang en --model ViT-B-32", "--model ViT-B-32 needs --pretrained"),
    ("train shards --lang en --model ViT-B-32 --pretrained nowhere.pt", "--pretrained nowhere.pt: no such file"),
    ("eval shards nowhere/ --model toy", "nowhere/: no such file or folder"),
    ("eval shards toy:8 nowhere --model toy", "there is no eval set 'nowhere'"),
    ("eval shards --model toyy", "there is no model 'toyy' — did you mean toy?"),
    ("eval runs/unfinished shards --model toy", "runs/unfinished: unfinished: step 0 of 2"),
    ("eval shards --model toy --mode linear-probe --train shards,nowhere", "nowhere: no such file or folder"),
    ("eval flickr30k --data nowhere --model toy", "nowhere: has no dataset_flickr30k.json"),
    ("eval shards --model toy --classes nowhere", "nowhere: no such file"),
    ("search 'a red square' shards nowhere --model toy", "nowhere: no such file or folder"),
    ("search --image nowhere.jpg shards --model toy", "nowhere.jpg"),
    ("search --queries nowhere shards --model toy", "nowhere"),
    ("show shards nowhere", "nowhere: no such file or folder"),
    ("report runs/nowhere runs/unfinished", "runs/nowhere: no run.json"),
    ("footprint shards nowhere", "nowhere: no such file or folder"),
    ("status shards nowhere", "no manifest.jsonl"),
    ("export runs/nowhere --out out", "runs/nowhere: no run.json"),
    (f"{ADAPT} --eval toy:8,nowhere/", "nowhere/: no such file or folder"),
    (f"{ADAPT} --eval 'nowhere/*.tar'", "nowhere/*.tar: nothing matches"),
    (f"{ADAPT} --eval flickr30k --set eval.data=nowhere", "nowhere: has no dataset_flickr30k.json"),
    (f"{ADAPT.replace('--model toy', '--model toyy')}", "there is no model 'toyy'"),
    ("adapt shards nowhere --lang pt --captioner toy --translator toy --model toy", "nowhere: no such file or folder"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``shards``, ``photos``, an empty folder, and a run without a step."""
    folder = tmp_path_factory.mktemp("missing")
    for name in ("shards", "photos", "empty", "runs/unfinished"):
        (folder / name).mkdir(parents=True)
    (folder / "shards" / "00000.tar").write_bytes(shard_bytes(toy_like(4)))
    (folder / "photos" / "a.jpg").write_bytes(toy_like(1)[0].members["jpg"])
    (folder / "photos" / "a.csv").write_text("image,caption\na.jpg,a red square\n")
    document = '{"name": "x", "request": {"lang": "pt", "steps": 2}, "step": 0, "finished": false}'
    (folder / "runs" / "unfinished" / "run.json").write_text(document)
    return folder


@pytest.fixture(autouse=True)
def _no_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No model is built, no image is examined, and nothing is written."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("work was done before the missing input was known")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(build, "build", fail)
    monkeypatch.setattr(ImageExaminer, "examine", fail)
    before = tree(folder)
    yield
    assert tree(folder) == before


@pytest.mark.parametrize(("line", "message"), LINES, ids=[line for line, _ in LINES])
def test_it_is_known_before_any_work(line: str, message: str) -> None:
    with pytest.raises(CapivaraError) as caught:
        perform(parse_command(shlex.split(line), Settings(device="cpu", energy=False, quiet=True)))
    assert message in caught.value.message


def test_the_sets_of_dedupe_are_opened_before_one_is_examined(tmp_path: Path) -> None:
    line = f"dedupe shards --against shards,flickr30k --data nowhere --out {tmp_path / 'out'}"
    with pytest.raises(CapivaraError, match=r"nowhere: has no dataset_flickr30k\.json"):
        perform(parse_command(shlex.split(line), Settings(device="cpu", energy=False, quiet=True)))


@pytest.mark.parametrize("line", ["filter nowhere --out out", "dedupe nowhere --images embedding --out out"])
def test_a_missing_input_is_known_before_a_model_is_downloaded(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("filter", "dedupe"):
        monkeypatch.setattr(f"capivara_cli.stages.{module}.check_model", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(CapivaraError, match="nowhere: no such file or folder"):
        perform(parse_command(line.split(), Settings(device="cpu", energy=False)))
