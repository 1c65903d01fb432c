"""Hashes of a plan: the contents of the files that options name; links to nowhere are no reason to stop."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reliability.running import run
from support.made import jpeg

from capivara_cli import registry
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.fingerprint import difference, fingerprint
from capivara_cli.pipeline.options import Settings, build, option_fields, option_types
from capivara_cli.shards.manifest import Manifest
from capivara_cli.training.options import Options, contents


@pytest.mark.parametrize("name", ["b.jpg", "README", "list.csv", "x/0001.json"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_to_nowhere_in_a_folder_costs_at_most_its_own_image(name: str, target: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "x").mkdir(parents=True)
    (photos / "a.jpg").write_bytes(jpeg())
    (photos / "a.txt").write_text("red")
    link = photos / name
    link.symlink_to(link if target == "itself" else "nowhere")
    ran = run(["pack", "photos", "--out", "out"], tmp_path)
    assert ran.code == 0, ran.said
    assert "wrote 1" in ran.said


NAMED = {
    "a file": ("caption --captioner toy --prefixes prefixes.txt", "prefixes.txt"),
    "a file with a comma in its neighbour": ("rewrite --rewriter eda --synonyms synonyms.tsv", "synonyms.tsv"),
    "one of two files": ("rewrite --exemplars a.tsv,b.tsv", "b.tsv"),
    "a configuration of a model": ("filter --model local-dir:clip", "clip/open_clip_config.json"),
    "a tokenizer in a folder of a model": ("filter --model local-dir:clip", "clip/tokenizer/vocab.json"),
    "a file of weights": ("filter --model ViT-B-32 --pretrained weights.pt", "weights.pt"),
    "a run folder with a plain name": ("filter --model run", "run/adapter/adapter_config.json"),
    "a model of a captioner": ("caption --captioner blip2:blip", "blip/preprocessor_config.json"),
    "a model of a rewriter": ("rewrite --rewriter llm:llm", "llm/config.json"),
    "a model of a translator": ("translate --translator nllb:nllb", "nllb/sentencepiece.bpe.model"),
    "a package": ("translate --package en_pt.argosmodel", "en_pt.argosmodel"),
    "a folder with a plain name": ("dedupe --images exact --against heldout", "heldout/00000.tar"),
    "one of a list of folders": ("dedupe --images exact --against a,heldout", "heldout/00000.tar"),
    "a glob": ("dedupe --images exact --against 'held*/*.tar'", "heldout/00000.tar"),
    "a brace pattern": ("dedupe --images exact --against 'heldout/0000{0..2}.tar'", "heldout/00001.tar"),
    "a copy of an eval set": ("dedupe --images exact --against xtd --data copy", "copy/captions.txt"),
}


@pytest.mark.parametrize("case", NAMED)
def test_the_content_of_a_file_that_an_option_names_is_part_of_the_plan(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line, name = NAMED[case]

    def now() -> str:
        return fingerprint(Chain(parse_plan(line), Settings()))

    without = now()
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"one")
    first, info = now(), path.stat()
    assert first != without
    path.write_bytes(b"two")  # of the same size
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert now() != first
    path.write_bytes(b"one")
    os.utime(path, ns=(0, 0))
    assert now() == first, "a copy with another time is the same file"


def test_of_large_files_the_ends_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes are not read again at each start; a small file in a large folder is still read whole."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("capivara_cli.pipeline.fingerprint._END", 4)
    monkeypatch.setattr("capivara_cli.pipeline.fingerprint._LARGE_FOLDER", 10)
    (tmp_path / "clip").mkdir()
    weights, small = tmp_path / "clip" / "weights.bin", tmp_path / "clip" / "config.json"
    chain = Chain(parse_plan("filter --model local-dir:clip"), Settings())

    def written(path: Path, data: bytes) -> str:
        path.write_bytes(data)
        os.utime(path, ns=(0, 0))
        return fingerprint(chain)

    written(weights, b"0123456789abcdef")
    first = written(small, b"one")
    assert written(weights, b"0123.......bcdef") == first
    assert written(weights, b"0123456789abcdeX") != first
    assert written(weights, b"0123456789abcdef") == first
    os.utime(weights, ns=(1, 1))
    assert fingerprint(chain) != first
    written(weights, b"0123456789abcdef")
    assert written(small, b"two") != first


def test_what_a_report_or_an_evaluation_adds_to_a_run_is_not_part_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    (tmp_path / "run" / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    chain = Chain(parse_plan("filter --model run"), Settings())
    before = fingerprint(chain)
    for name in ("eval.json", "report.html", "footprint.json", ".lock"):
        (tmp_path / "run" / name).write_bytes(b"x")
    assert fingerprint(chain) == before


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("translate --translator mine:small", "translators"),
        ("caption --captioner mine", "captioners"),
        ("rewrite --rewriter mine", "rewriters"),
        ("rewrite --rewriter back-translation --translator mine", "translators"),
    ],
)
def test_the_version_of_a_plugin_of_another_package_is_part_of_the_plan(
    line: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for version in ("1.0", "1.1", ""):
        entry: Any = SimpleNamespace(module="mine", package=f"mine {version}")
        monkeypatch.setattr(registry, "entry_points", lambda of, e=entry: {"mine": [e]} if of == kind else {})
        found.add(fingerprint(Chain(parse_plan(line), Settings())))
    assert len(found) == 3


TABLES = {
    "CSV": ("list.csv", "image,caption\nimg/a.jpg,red\nimg/b.jpg,blue\n"),
    "JSON lines": (
        "list.jsonl",
        '{"image": "img/a.jpg", "caption": "red"}\n{"image": "img/b.jpg", "caption": "blue"}\n',
    ),
    "COCO": (
        "captions_val.json",
        '{"images": [{"id": 1, "file_name": "img/a.jpg"}, {"id": 2, "file_name": "img/b.jpg"}], '
        '"annotations": [{"image_id": 1, "caption": "red"}]}',
    ),
}


@pytest.mark.parametrize("form", TABLES)
@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_the_images_that_a_table_names_are_part_of_the_plan(form: str, change: str, tmp_path: Path) -> None:
    name, text = TABLES[form]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / name).write_text(text)
    (tmp_path / "photos" / "img").mkdir(parents=True)
    image = tmp_path / "photos" / "img" / "a.jpg"
    image.write_bytes(jpeg((200, 0, 0)))
    (tmp_path / "photos" / "img" / "b.jpg").write_bytes(jpeg((0, 0, 200)))
    words = ["pack", f"lists/{name}", "--images", "photos", "--out", "out"]
    assert run(words, tmp_path).code == 0
    (tmp_path / "photos" / "new.jpg").write_bytes(jpeg())  # the table does not name it
    assert "up to date" in run(words, tmp_path).said
    image.write_bytes(jpeg((0, 200, 0))) if change == "replaced" else image.unlink()
    ran = run(words, tmp_path)
    assert (ran.code, "(input photos/img/a.jpg changed)" in ran.said) == (1, True)


def test_an_option_without_a_value_is_called_none() -> None:
    before, now = [[{"step": "dedupe", "options": {"lang": lang}}] for lang in ("", "en")]
    assert difference(Manifest(before, "", 1), now, {}) == "dedupe: no --lang, now it is --lang en"
    assert difference(Manifest(now, "", 1), before, {}) == "dedupe: --lang en, now it is no --lang"


NO_PATHS = {
    "format", "split", "only", "base_url", "name", "labels", "prompt", "repo", "objective", "memory", "lora_init",
    "time", "partition", "account", "setup",
}  # fmt: skip
"""Options that hold a free text and name no file."""
WRITTEN = {"runs", "to", "hf"}
"""Options that name a folder to write."""


def test_every_option_that_may_name_a_file_says_so() -> None:
    commands = list(map(registry.load_command, registry.command_names()))
    assert len(commands) >= 15
    open_ends = {
        f"{each.name} --{field.name}": field.name
        for each in commands
        for field in option_fields(each.options)
        if option_types(each.options)[field.name] is str
        and not (field.metadata["reads"] or field.metadata["kind"] or field.metadata.get("output"))
    }
    assert set(open_ends.values()) <= NO_PATHS | WRITTEN, open_ends


OF_RUNS = {
    "--model of a folder": ("model", "local-dir:clip", "clip/open_clip_config.json"),
    "--model of a run": ("model", "run", "run/adapter/adapter_model.safetensors"),
    "--pretrained": ("pretrained", "weights.pt", "weights.pt"),
    "--teacher": ("teacher", "local-dir:clip", "clip/tokenizer/vocab.json"),
    "--val": ("val", "heldout", "heldout/00000.tar"),
    "--val of a pattern": ("val", "held*/0000{0..1}.tar", "heldout/00001.tar"),
    "--continue-from": ("continue_from", "adapter", "adapter/adapter_config.json"),
}


@pytest.mark.parametrize("case", OF_RUNS)
def test_a_run_is_bound_to_the_contents_of_the_files_that_its_options_name(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    option, value, name = OF_RUNS[case]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"one")
    options = build(Options, lang="pt", **{option: value})
    before, info = contents(options), path.stat()
    assert set(before) == {option}
    run = RunDir(tmp_path / "runs" / "pt")
    run.save(request=options.request, contents=before, finished=False)
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "step-000001.pt").touch()  # begun
    run.check_request(options.request, contents(options))
    path.write_bytes(b"two")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    flag = f"--{option.replace('_', '-')}"
    says = f"{flag} {re.escape(value)}: its files have changed since this run was trained"
    with pytest.raises(CapivaraError, match=says):
        run.check_request(options.request, contents(options))
    run.check_request(options.request, contents(options), overwrite=True)
    assert run.outdated


def test_a_file_with_a_comma_in_its_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.txt").write_text("x")
    (tmp_path / "b.txt").write_text("y")
    chain = Chain(parse_plan("caption --captioner toy --prefixes a,b.txt"), Settings())
    first = fingerprint(chain)
    (tmp_path / "a,b.txt").write_text("z")
    assert fingerprint(chain) != first
