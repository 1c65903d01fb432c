"""Command lines with unknown names or impossible values."""

from __future__ import annotations

from reliability.case import Case, nothing
from reliability.made_bad import Make, a_run, also, file, shards


def _use(wrong: str, line: str, says: str, make: Make = nothing) -> Case:
    return Case(wrong, line, make, says, 2)


def _named(wrong: str, line: str, says: str, make: Make = shards) -> Case:
    return Case(wrong, line, make, says)


NAMES = [
    _use("a command that does not exist", "captoin shards", "there is no command 'captoin'.*did you mean caption"),
    _use("an option that does not exist", "split shards --nope", "No such option: --nope"),
    _use("a value that is not one of the choices", "split shards --part half", "'half' is not one of 'train', 'heldout'"),
    _named("a captioner that does not exist", "caption shards --captioner blip", "no captioner 'blip'.*mean blip2"),
    _named("a rewriter that does not exist", "rewrite shards --rewriter lm", "no rewriter 'lm'.*did you mean llm"),
    _named("a translator that does not exist", "translate shards --translator argo", "no translator 'argo'.*mean argos"),
    _named("an exporter that does not exist", "export runs/pt --out x --format onx", "no exporter 'onx'.*mean onnx", a_run),
    _named("an eval set that does not exist", "eval flickr31k", "no eval set 'flickr31k'", nothing),
    _use("a mode that does not exist", "eval shards --mode zero --model toy", "no mode 'zero'.*mean zero-shot", shards),
    _use("a kind that does not exist", "list capybaras", "there is no kind 'capybaras'; there are"),
    _use("a kind of plugin that does not exist", "check transaltor toy", "there is no kind 'transaltor'.*mean translator"),
    _named("a ledger that is a folder", "split shards --ledger . --out out", r"--ledger \.: cannot be written: Is a directory"),
    _named("a ledger below a file", "translate shards --translator toy --lang pt --ledger shards/00000.tar/costs.jsonl --out out",
           "--ledger shards/00000.tar/costs.jsonl: cannot be written: Not a directory"),
    _named("a country that does not exist", "split shards --country BRZ --out out", "there is no country 'BRZ'"),
    _use("a device that does not exist", "filter shards --model toy --device cudda", "there is no device 'cudda'.*did you mean cuda", shards),
    _use("a device under another name", "filter shards --model toy --device gpu", "there is no device 'gpu'", shards),
    _use("an option of other commands", "train shards --lang pt --rejects bad", "train: No such option: --rejects", shards),
    _use("a device for a command that looks at all of them", "doctor --device cpu", "doctor: No such option: --device"),
    _use("a list without commas", "train shards --lang 'pt hi'", "--lang: 'pt hi': a list has commas between its items", shards),
    _named("a device that this machine does not have", "caption shards --captioner toy --device cuda:7", "--device cuda:7: cannot be used"),
    _use("a guard that does not exist", "translate shards --translator toy --guards foo", "there is no guard 'foo'", shards),
    _use("a logger that does not exist", "train shards --lang pt --model toy --log foo", "--log: there is no tracker 'foo'; there are", shards),
]  # fmt: skip

BOUNDS = [
    _use("a number below its bound", "caption shards --n 0", "--n 0: must be at least 1"),
    _use("a number above its bound", "dedupe shards --threshold 3", "--threshold 3.0: must be at least 0 and at most 1"),
    _use("an option that is not a number", "train shards --lang pt --lr nan", "--lr nan: must be at least 0"),
    _use("a word instead of a number", "split shards --fraction half", "Invalid value for '--fraction'"),
    _use("a seed below zero", "split shards --seed -1", "--seed -1: must be at least 0"),
    _use("invalid ranks", "eval shards --k x --model toy", "--k: 'x' is not a whole number above 0", shards),
    _use("an invalid size", "train shards --lang pt --model toy --memory lots", "--memory lots: not a size", shards),
    _use("a table of a kind that is not written", "eval shards --model toy --table x.doc", "--table x.doc: the extension must be",
         shards),
    _use("a prompt without the placeholder of the caption", "eval shards --model toy --prompt dog", "needs one {} in place of the caption", shards),
    _use("one value given twice", "split shards --seed 1 --seed 2", "--seed is given more than once, and holds one value", shards),
    _use("one value given twice in a plan", "run 'caption --n 1 | filter --top-k 1 --top-k 2' shards",
         "filter: --top-k is given more than once, and holds one value", shards),
    _use("a line break in an option of a script", "slurm split shards --out done --partition 'gpu\n#SBATCH --uid=0'",
         "slurm: --partition .*: has a line break or another control character", shards),
    _use("an invalid share", "split shards --share 3/2 --out out", "--share 3/2: must be I/N", shards),
    _use("a demo that is too small", "demo --scenes 5", "--scenes 5: must be at least 100"),
]  # fmt: skip

LANGUAGES = [
    _use("a language that does not exist: translate", "translate shards --lang klingon --translator toy",
           r"there is no language 'klingon' — did you mean kg \(Kongo\)"),
    _named("a language the translator lacks", "translate shards --lang es --translator toy",
           "no translator from en to es; from English there are en-hi, en-pt, en-xh"),
    _named("a language without captions: eval", "eval shards --model toy --lang hi",
           r"shards: no captions in hi; there are en \(16 captions\), pt \(8 captions\)"),
    _named("a language without captions: train", "train shards --lang hi --model toy --steps 1",
           r"no captions in hi; there are en \(16\), pt \(8\)"),
    _use("no language to train on", "train shards", "train: which language"),
    _use("no language to adapt to", "adapt shards", "adapt: which language"),
    _use("a language the demo lacks", "demo --lang es", "--lang: 'es' is not one of pt, hi, xh"),
    Case("a language without captions: show", "show shards --lang hi", shards,
         "warning: no captions in hi among these samples; there are captions in en, pt", 0),
]  # fmt: skip

MISSING = [
    _use("no query", "search", "search: no query"),
    _use("an empty query", "search '' shards", "search: the query is empty", shards),
    _named("a query that is not an image", "search shards --image x.jpg --model toy",
           "--image x.jpg: image cannot be decoded: not an image", also(shards, file("x.jpg", b"text"))),
    _named("a file of queries without a query", "search shards --queries q.txt --model toy", "--queries q.txt: no query in this file",
           also(shards, file("q.txt", b"\n"))),
    _named("images on an output that is not a terminal", "search x shards --model toy --inline on",
           "--inline on: standard output is not a terminal"),
    _named("a missing file of prefixes", "caption shards --captioner toy --prefixes no.txt",
           "--prefixes no.txt: cannot be read"),
    _named("a missing file of synonyms", "rewrite shards --rewriter eda --synonyms no.txt",
           "--synonyms no.txt: cannot be read"),
    _named("missing shards to report on", "report runs/pt --shards nowhere", "nowhere: no such file", a_run),
    _use("a report on nothing", "report", "report: which run"),
    _use("an export without a folder", "export runs/pt", "export needs one run and --out", a_run),
    _use("an invalid name on the hub", "export runs/pt --hf x --repo a/b/c", "--repo a/b/c: a name on the hub", a_run),
    _use("no plan", "run", "run: which plan"),
    _use("a plan with an empty step", "run 'split | ' shards", r"plan 'split \| ': an empty step", shards),
    _use("a plan with an open quotation", 'run "split \'x" shards', "No closing quotation", shards),
    _use("a plan with a step that is not a stage", "run 'split | train' shards", "train is no stage", shards),
    _use("a plan with a value out of bounds", "run 'split --fraction 3' shards", "--fraction 3.0: must be at least",
         shards),
    _use("a status of no folder", "status", "status: which folder"),
    _named("a status of a folder without a manifest", "status shards", "shards: no manifest.jsonl in this folder"),
    _use("a script for Slurm without a plan", "slurm", "slurm: which plan"),
    _use("a script for Slurm without a folder", "slurm split shards", "slurm: --out is missing", shards),
    _use("a footprint of nothing", "footprint", "footprint: which results"),
    Case("a footprint of a command that does not exist", "footprint -- nosuchcommand", nothing,
         "nosuchcommand: no such command"),
    Case("a footprint of a command that fails", "footprint -- false", nothing, "capivara footprint: false"),
    Case("a missing folder of images to adapt to", "adapt nowhere --lang pt --model toy --captioner toy --translator toy",
         nothing, "nowhere: no such file or folder"),
]  # fmt: skip

TOPICS = {"Names": NAMES, "Bounds": BOUNDS, "Languages": LANGUAGES, "What is missing": MISSING}
