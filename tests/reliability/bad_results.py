"""Folders, runs and caches that are damaged, unfinished, of another plan, or in the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reliability.case import Case, nothing
from reliability.made_bad import (
    Make,
    a_run,
    after,
    also,
    altered,
    cut,
    edited,
    empty_folder,
    file,
    good,
    shards,
    without,
)

_SPLIT = "split shards --out out"
_MADE = after(_SPLIT)
_EVAL = "eval shards runs/pt --model toy"
_SEARCH = "search 'a red square' shards --model runs/pt"


def _manifest(wrong: str, text: str) -> Case:
    make = also(_MADE, file("out/manifest.jsonl", text))
    return Case(wrong, "dedupe out --out next", make, r"out/manifest\.jsonl: damaged: its first line has no plan")


def _damaged_index(folder: Path) -> None:
    """The index that a search left in the cache, with its embeddings cut."""
    from reliability.running import run_case

    shards(folder)
    (folder / "cache").mkdir()
    run_case(Case("", "search 'a red square' shards --model toy --quiet", nothing, ""), folder)
    for features in (folder / "cache" / "search").rglob("features*"):
        features.write_bytes(features.read_bytes()[:-8])


def _damaged_memory(folder: Path) -> None:
    """A translation memory that is not a database."""
    shards(folder)
    file("cache/translations.sqlite", b"not a database" * 100)(folder)


def _damaged_store(folder: Path) -> None:
    """A feature store of an earlier training, with its texts cut."""
    from reliability.running import run

    shards(folder)
    words = "train shards --lang pt --model toy --steps 1 --batch-size 4 --name other --quiet"
    run(words.split(), folder)
    for tokens in (folder / "runs" / ".features").rglob("tokens"):
        tokens.write_bytes(tokens.read_bytes()[:-4])


def _run_json(change: Callable[[Any], Any]) -> Make:
    return also(a_run, edited("runs/pt/run.json", change))


def _second_run(folder: Path) -> None:
    shutil.copytree(folder / "runs" / "pt", folder / "runs" / "pt2")


FOLDERS = [
    Case("the output is the input", "split shards --out shards", shards, "--out shards: is also the input"),
    Case("a --summary over an input", "split shards --out out --summary shards/00000.tar", shards,
         "--summary shards/00000.tar: would be read as a part of shards", 2),
    Case("a --table over a file that another option reads", "eval shards --model toy --classes a.csv --table ./a.csv",
         also(shards, file("a.csv", "dog\n")), r"--table \./a\.csv: is also the input a\.csv", 2),
    Case("--rejects over the input", "split shards --out out --rejects shards/../shards", shards,
         r"--rejects shards/\.\./shards: is also an input", 2),
    Case("--rejects over rejects that are the input", "split rejects/1-split --out out --rejects rejects",
         also(shards, file("rejects/1-split/00000.tar", good())),
         "--rejects rejects: would be written to rejects/1-split, which is an input or --out", 2),
    Case("two options that name one file", "show shards --html page.html --summary ./page.html", shards,
         r"--summary \./page\.html: --html writes there too", 2),
    Case("the result of other options in --out", "split shards --fraction 0.5 --out out", _MADE,
         r"out: holds the result of another plan or other options \(split: --fraction 0\.1, now it is --fraction 0\.5\)\n  choose another folder"),
    Case("the result of another stage in --out", "dedupe shards --out out", _MADE, "out: holds the result of another"),
    Case("shards of another program in --out", _SPLIT, also(shards, file("out/00000.tar", b"x")),
         r"out: holds shards but no manifest\.jsonl"),
    Case("--out is a file", _SPLIT, also(shards, file("out", b"x")),
         "out.*Not a directory\n  there is a file where a folder is needed"),
    Case("an --out that cannot be made", "split shards --out /proc/nowhere", shards, r"/proc/nowhere: No such file"),
    Case("a --summary that cannot be written", "split shards --out out --summary /proc/nowhere/s.json", shards,
         r"--summary /proc/nowhere/s\.json: cannot be written: No such file or directory\n  name a file in a folder"),
    Case("two folders with shards of the same names", "split shards shards --out out", shards,
         "2 inputs would all be written to shards-00000.tar\n  process the folders one by one"),
    _manifest("a manifest that is not JSON", "garbage"),
    _manifest("a manifest whose number of shards is a word", '{"plan": [], "fingerprint": "x", "shards": "two"}\n'),
    _manifest("a manifest whose plan is not a plan", '{"plan": [5], "fingerprint": "x", "shards": 2}\n'),
    Case("a finished shard was deleted", "dedupe out --out next", also(_MADE, without("out/00000.tar")),
         r"out: incomplete: 00000\.tar is missing, which its manifest\.jsonl lists as finished"),
    Case("a finished shard was cut off", "dedupe out --out next", also(_MADE, cut("out/00000.tar")),
         r"out: damaged: 00000\.tar has [\d,]+ bytes, [\d,]+ by its manifest\.jsonl\n  run the command that makes it again"),
    Case("a finished shard was cut off: the same command again", _SPLIT, also(_MADE, cut("out/00000.tar")),
         r"read 4, wrote 4, dropped 0; up to date \(1 shard\)", 0, 4, 4, changes=("out",)),
    Case("a finished shard was altered", "dedupe out --out next", also(_MADE, altered("out/00000.tar")),
         r"out/00000\.tar: damaged: its content is not what its command wrote \(digest differs\)\n"
         r"  delete it, and run the command that made it again \(split\): it makes only the missing shards"),
    Case("a finished shard was altered: training", "train out --lang pt --model toy --steps 1 --batch-size 4 --name pt",
         also(_MADE, altered("out/00001.tar")), r"out/00001\.tar: damaged: its content is not what its command wrote"),
    Case("a finished shard was altered: the same command again", _SPLIT, also(_MADE, altered("out/00000.tar")),
         r"out: 00000\.tar missing, or damaged since it was finished: made again\n"
         r".*read 4, wrote 4, dropped 0; up to date \(1 shard\)", 0, 4, 4, changes=("out",)),
    Case("the result of other options is replaced", "split shards --fraction 0 --out out --overwrite", _MADE,
         r"out: the result of split is replaced\n.*read 8", 0, 8, 8, changes=("out",)),
    Case("a damaged cost record beside the input", "dedupe out --out next",
         also(_MADE, file("out/footprint.jsonl", "garbage")), r"out/footprint\.jsonl: not a ledger of footprints.*\n  delete it"),
    Case("an input is gone: the same command again", _SPLIT, also(_MADE, without("shards/00001.tar")),
         r"out: 00001\.tar removed: no input leads to it any more\n.*up to date \(1 shard\)", 0, 0, 0, changes=("out",)),
    Case("a finished shard was deleted: the same command again", _SPLIT, also(_MADE, without("out/00000.tar")),
         r"read 4, wrote 4, dropped 0; up to date \(1 shard\)", 0, 4, 4, changes=("out",)),
    Case("nothing is left to do: the same command again", _SPLIT, _MADE,
         r"capivara split: up to date \(2 shards\); in out/", 0, 0, 0, changes=("out",)),
    Case("a ledger that is not JSON", "footprint out", also(_MADE, file("out/footprint.jsonl", "garbage")),
         r"out/footprint\.jsonl: not a ledger of footprints"),
    Case("a ledger whose records lack numbers", "footprint out", also(_MADE, file("out/footprint.jsonl", '{"id": "1"}')),
         r"out/footprint\.jsonl: not a ledger of footprints: 'stage' of a record is missing"),
    Case("a folder without a ledger", "footprint shards", shards, "shards: no footprint in it"),
]  # fmt: skip

RUNS = [
    Case("a page about two runs over that about one", "report runs/pt runs/pt2 --out runs/pt",
         also(a_run, _second_run),
         r"report: runs/pt/report\.html is the page about that run alone", 2),
    Case("no such run", "report nowhere", nothing, r"nowhere: no run\.json: not a run folder"),
    Case("a folder of shards instead of a run", "export shards --out x", shards, r"shards: no run\.json"),
    Case("a run.json cut off", _SEARCH, also(a_run, file("runs/pt/run.json", '{"name": "pt", ')), r"runs/pt/run\.json: damaged"),
    Case("a run.json of another program", "report runs/pt", also(a_run, file("runs/pt/run.json", "[]")),
         r"runs/pt/run\.json: not written by capivara train"),
    Case("an unfinished run", "export runs/pt --out x",
         _run_json(lambda document: document.update(finished=False)),
         "runs/pt: unfinished: step 2 of 2\n  run the same capivara train command again"),
    Case("a run.json without its base model", _SEARCH, _run_json(lambda document: document.pop("base")),
         r"runs/pt/run\.json: damaged: 'base' of the run is missing"),
    Case("a run.json without its temperature", _SEARCH,
         _run_json(lambda document: document.update(logit_scale=None)),
         r"runs/pt/run\.json: damaged"),
    Case("the base model was replaced", _SEARCH,
         _run_json(lambda document: document["base"].update(image="sha256:0000")),
         "runs/pt/adapter: was trained on toy, whose image tower has changed"),
    Case("the base model is gone", _EVAL, _run_json(lambda document: document["base"]["source"].update(model="local-dir:gone")), "gone: no such folder"),
    Case("the adapter is gone", _SEARCH, also(a_run, without("runs/pt/adapter")), "runs/pt: unfinished"),
    Case("the adapter is cut off", _SEARCH, also(a_run, cut("runs/pt/adapter/adapter_model.safetensors")),
         r"adapter_model\.safetensors: damaged or replaced"),
    Case("the adapter is cut off: export", "export runs/pt --format peft --out x",
         also(a_run, cut("runs/pt/adapter/adapter_model.safetensors")),
         r"adapter_model\.safetensors: damaged or replaced"),
    Case("an eval.json cut off", "report runs/pt", also(a_run, file("runs/pt/eval.json", '{"retrieval": [')),
         r"runs/pt/eval\.json: damaged.*\n  move it away and evaluate again"),
    Case("an eval.json cut off: eval", _EVAL, also(a_run, file("runs/pt/eval.json", '{"retrieval": [')),
         r"runs/pt/eval\.json: damaged.*\n  move it away and evaluate again"),
    Case("an eval.json with a damaged row", "report runs/pt",
         also(a_run, file("runs/pt/eval.json", '{"retrieval": [{"set": 1}], "classification": [], "disparity": []}')),
         r"runs/pt/eval\.json: damaged: 'set' of a retrieval row is 1"),
    Case("metrics whose lines lack values", "report runs/pt",
         also(a_run, file("runs/pt/metrics.jsonl", '{"step": 1, "loss": 2}\nzz\n{"step": 2, "loss": 1}\n')),
         r"runs/pt/metrics\.jsonl: line 1: damaged: 'logit_scale' of the step is missing"),
    Case("metrics cut off", "report runs/pt", also(a_run, cut("runs/pt/metrics.jsonl", 9)),
         r"runs/pt/metrics\.jsonl: damaged or replaced.*\n  restore it, or move it away"),
    Case("a damaged ledger of a run", "report runs/pt",
         also(a_run, file("runs/pt/footprint.json", '{"records": [{"id": "1"}]}')),
         r"runs/pt/footprint\.json: not a ledger of footprints"),
    Case("a run with other options under the name", "train shards --lang pt --model toy --steps 3 --batch-size 4 --name pt",
         a_run, "runs/pt: holds a run with --steps 2, now it is --steps 3\n  choose another name"),
    Case("another folder with the name of the run", "train shards --lang pt --model toy --steps 1 --name pt",
         also(shards, file("runs/pt/notes.txt", b"x")), "runs/pt: not empty, and not a run"),
    Case("a run without its run.json", "train shards --lang pt --model toy --steps 2 --batch-size 4 --name pt",
         also(a_run, without("runs/pt/run.json")),
         r"runs/pt: its run\.json is missing\n  restore it; or delete the folder and train again"),
    Case("the folder to export to exists", "export runs/pt --out runs", a_run, "runs: exists already\n  choose another --out"),
    Case("training that diverges",
         "train shards --lang pt --model toy --steps 3 --batch-size 4 --warmup 0 --lr 1e30 --name new", shards,
         r"runs/new: training diverged at step \d: the loss is nan.*\n  try a lower --lr"),
    Case("too little memory allowed", "train shards --lang pt --model toy --steps 1 --memory 1MB", shards,
         "--memory .* is not enough. .*\n  give it --memory"),
]  # fmt: skip

CACHES = [
    Case("a truncated search index: built again", "search 'a red square' shards --model toy", _damaged_index,
         r"8 images \(embedded now: 8, stored: 0\)", 0, changes=("cache",)),
    Case("a damaged translation memory: translating without it",
         "translate shards --translator toy --lang pt --out out", _damaged_memory,
         "warning: .*translations.sqlite", 0, 8, 8, changes=("cache",)),
    Case("a truncated feature cache: computed again",
         "train shards --lang pt --model toy --steps 1 --batch-size 4 --name again", _damaged_store,
         "read 8, dropped 0; images embedded here: 8", 0, 8, changes=("runs",)),
]  # fmt: skip

MODELS = [
    Case("a model that does not exist", "filter shards --model toi", shards, "there is no model 'toi' — did you mean toy"),
    Case("a missing folder of a model", "filter shards --model local-dir:nowhere", shards,
         "nowhere: no such folder"),
    Case("a folder without a model", "filter shards --model local-dir:shards", shards,
         r"shards: no open_clip_config\.json: not an open_clip folder"),
    Case("the default model, without a network", "filter shards", shards,
         r"the weights laion5b_s13b_b90k \(1\.5 GB\) of laion/.* are needed, but HF_HUB_OFFLINE is set"),
    Case("a model of the hub, without a network", "filter shards --model hf-hub:org/name", shards,
         "of org/name are needed, but HF_HUB_OFFLINE is set(.*\n)*.*--model local-dir:PATH"),
    Case("a name of the hub that is a path", "filter shards --model hf-hub:../../etc", shards,
         r"'\.\./\.\./etc' is not the name of a hub repository"),
    Case("a captioner, without a network", "caption shards --captioner hf:org/name", shards,
         "the captioner's weights of org/name are needed"),
    Case("a captioner that is neither a folder nor a name", "caption shards --captioner hf:nowhere", shards,
         "nowhere: no such folder, and not an ORG/NAME"),
    Case("a folder without a captioner", "caption shards --captioner hf:empty",
         also(shards, empty_folder("empty")), r"empty: has no config\.json"),
    Case("a rewriter, without a network", "rewrite shards", shards, "the rewriter's weights .* are needed"),
    Case("a translator, without a network", "translate shards --translator nllb --lang pt", shards,
         "the translator's weights .* are needed"),
    Case("a missing translation package", "translate shards --package x.argosmodel", shards,
         "argos: no such package: x.argosmodel"),
    Case("a file that is not a translation package", "translate shards --package x.argosmodel",
         also(shards, file("x.argosmodel", b"PK\x03\x04" * 9)), r"x\.argosmodel: not an Argos package"),
    Case("an eval set, without a network", "eval flickr30k --model toy", nothing,
         r"nlphuji/flickr_1k_test_image_text_retrieval are needed.*\n  --data DIR takes your copy"),
    Case("a folder that is not a copy of the eval set", "eval flickr30k --data shards --model toy", shards,
         r"shards: has no dataset_flickr30k\.json"),
    Case("a service without its key", "caption shards --captioner openai:gpt", shards, "OPENAI_API_KEY is not set"),
    Case("an address that is not a URL", "caption shards --captioner openai:x --base-url ftp://host", shards,
         "--base-url ftp://host: not a URL"),
]  # fmt: skip

TOPICS = {"Folders of shards": FOLDERS, "Runs": RUNS, "Caches": CACHES, "Models and services": MODELS}
