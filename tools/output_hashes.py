"""Hash the output of a fixed set of commands, to check that a change of the code changes no result.

python -m tools.output_hashes FOLDER > hashes.json

FOLDER must not exist; the outputs go there. Compare two hash files from one machine with ``diff``. Training depends on
the processor, so the files of two machines differ. ``PYTHONPATH=OTHER_CHECKOUT`` hashes another checkout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

_TRAIN = "train ready --model toy --lang pt --batch-size 64 --steps 20 --no-energy --seed 3"
COMMANDS = f"""
capivara pack toy:60 --shard-size 20 --out shards
capivara caption shards --captioner toy --n 4 --out captioned
capivara caption shards --captioner toy --n 12 --distinct --temperature 0.8 --seed 5 --out sampled
capivara rewrite captioned --rewriter toy --n 2 --out rewritten
capivara rewrite captioned --rewriter eda --n 2 --out edited
capivara rewrite shards --rewriter back-translation --via pt --translator toy --no-cache --out back
capivara translate rewritten --translator toy --lang pt,hi,xh --no-cache --out translated
capivara filter translated --model toy --select rank --top-k 3 --out ranked
capivara filter translated --model toy --select threshold-diversity --out diverse --rejects diverse-rejects
capivara filter translated --model toy --rules all --min-entropy 0.5 --level image --on mean --out ruled
capivara dedupe ranked --out ready
capivara dedupe translated --paper --out paper
capivara split ready --part heldout --fraction 0.3 --out heldout
cat shards/*.tar | capivara caption --captioner toy --n 3 | capivara translate --translator toy --lang pt --no-cache | capivara filter --model toy --top-k 2 | capivara dedupe > pipe.tar
capivara run 'caption --captioner toy --n 3 | translate --translator toy --lang pt --no-cache | filter --model toy --top-k 2 | dedupe' shards > plan.tar
capivara run 'caption --captioner toy --n 3 | translate --translator toy --lang pt --no-cache | filter --model toy --top-k 2' shards --workers 2 --out workers
capivara run 'filter --model toy --top-fraction 0.8 --rules length,boilerplate | dedupe --images phash --keep best' translated --workers 2 --out corpus
capivara dedupe translated --images embedding --model toy --similarity 0.9 --out embedding
capivara dedupe shards --against toy:100 --out apart
{_TRAIN} --name lora
{_TRAIN} --name adapter --peft adapter --keep-share 0
{_TRAIN} --name compacter --peft compacter
{_TRAIN} --name prompt --peft soft-prompt
{_TRAIN} --name norms --peft layernorm
{_TRAIN} --name lit --peft lit --views 2 --optimizer adam-l2
{_TRAIN} --name full --peft full
{_TRAIN} --name dora --lora-use dora,rslora --val 0.2 --val-every 5 --ema 0.9
{_TRAIN} --name aligned --align native --align-loss contrastive
capivara translate ready --from pt --lang en --translator toy --no-cache --out there-and-back
{_TRAIN.replace("ready", "there-and-back")} --name pivot --align mt-pivot --text-sampling all
{_TRAIN} --name taught --objective clip+distill:0.5 --memory 2GB
{_TRAIN} --name fp32 --precision fp32 --shots 20
capivara train ready --continue-from runs/lora --lang pt --batch-size 64 --steps 5 --no-energy --name longer
capivara eval toy:60 runs/lora runs/adapter --model toy --lang en,pt,hi --json --no-energy --table table.csv,table.md,table.tex > eval.json
capivara eval heldout --model runs/lora --json --no-energy > eval-shards.json
capivara eval toy:60 --model toy --lang pt --translate-queries --translator toy --json --no-energy > eval-translated.json
capivara export runs/lora --to exported-open-clip
capivara export runs/lora --to exported-peft --format peft
capivara export runs/lora --to exported-hf --format hf
capivara search 'um circulo vermelho' ready --model runs/lora --k 5 --json --no-energy > search.json
capivara show ready --n 3 --html show.html > show.txt
capivara report runs/lora --shards captioned,translated,ready
capivara list languages > languages.txt
capivara list captioners > captioners.txt
"""
_MEASURED = re.compile(
    r'"(seconds|search_seconds|samples_per_second|pairs_per_second|mtime_ns|corpus|peak_bytes|date)": [^,}\n]+|"timing": \{[^}]*\}'
)
_COSTS = {"footprint.json", "footprint.jsonl", "MODEL_CARD.md", "report.html"}
"""Files that hold measured costs: their bytes differ in every run, so only their names are recorded."""


def main() -> None:
    """Run every command in FOLDER and print {path: sha256} of all files in it at the end."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.output_hashes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="a new folder for the outputs")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True)
    setup = "set -eo pipefail; capivara() { " + f'"{sys.executable}" -m capivara_cli "$@" --quiet' + "; }\n"
    environment = {**os.environ, "CAPIVARA_CACHE": str(folder.resolve() / ".cache"), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", str(Path(__file__).parents[1]))
    for line in COMMANDS.strip().splitlines():
        command = line if "capivara" in line.split(maxsplit=1)[0] or line.startswith("cat ") else f"capivara {line}"
        done = subprocess.run(["bash", "-c", setup + command], cwd=folder, env=environment, stdin=subprocess.DEVNULL)
        if done.returncode:
            sys.stderr.write(f"exit {done.returncode}: {command}\n")
    found = {
        str(path.relative_to(folder)): digest(path, folder)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def digest(path: Path, root: Path) -> str:
    """The sha256 of a file, without its measured values and mentions of ``root``; "" for a file of costs."""
    if path.name in _COSTS:
        return ""
    content = path.read_bytes()
    if path.suffix in {".json", ".jsonl"}:
        content = _MEASURED.sub("", content.decode().replace(str(root.resolve()), "FOLDER")).encode()
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
