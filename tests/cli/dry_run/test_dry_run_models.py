"""`--dry-run` with the toy models: tried on some samples in another process; training, evaluating, whole methods."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.made import a_sample, toy_like
from support.rehearsing import column, estimated, performed, tree

from capivara_cli.cli.dry_run import trial_client
from capivara_cli.errors import CapivaraError
from capivara_cli.shards.archive import reading
from capivara_cli.shards.sample import Caption

TRAIN = "train shards --lang pt --model toy --steps 6 --batch-size 8 --warmup 1 --val 0.2 --val-every 3 --name one"


def bilingual(count: int, start: int = 0) -> list[Any]:
    return [
        a_sample(f"{n:05d}", Caption(f"a red square {n}", "en", "alt"), Caption(f"um quadrado vermelho {n}", "pt", "x"))
        for n in range(start, start + count)
    ]


def test_a_plan_is_tried_on_the_first_samples(shards, here):
    shards(toy_like(20), toy_like(20, 20))
    line = "run 'translate --translator toy --lang pt,hi | dedupe --k-min 1' shards --out done"
    before = tree(here)
    summary = estimated(line)
    assert tree(here) == before
    assert summary["remarks"] == []
    assert column(summary, "source") == ["measured", "measured"]
    assert summary["stages"][0]["basis"].startswith("on 32 of your samples, ")
    assert summary["total"]["memory_bytes"] > 2e7
    performed(line)
    made = list(Path("done").glob("*.tar"))
    assert summary["total"]["disk_bytes"] == pytest.approx(sum(each.stat().st_size for each in made), rel=0.1)
    captions = sum(len(sample.captions) for path in made for sample in reading_of(path))
    assert summary["stages"][1]["captions"] == pytest.approx(captions, rel=0.05)


def reading_of(path: Path) -> list[Any]:
    with reading(str(path)) as reader:
        return list(reader)


def test_what_a_trial_finds_wrong_is_wrong(shards):
    shards(toy_like(4))
    with pytest.raises(CapivaraError, match=r"translate: no caption is in Hindi \(hi\)") as found:
        estimated("translate shards --translator toy --lang pt --from hi")
    assert found.value.exit_code == 1


def test_a_trial_that_takes_too_long_is_ended(shards, monkeypatch):
    shards(toy_like(4))
    monkeypatch.setattr(trial_client, "_LIMIT", 0.01)
    summary = estimated("caption shards --captioner toy --out done")
    assert column(summary, "source") == ["assumed"]
    assert summary["remarks"] == ["caption: could not be tried: it took more than 0 s"]


def test_training_is_tried_then_past_then_done(shards, here):
    shards(bilingual(20))
    before = tree(here)
    tried = estimated(TRAIN)
    assert tree(here) == before
    assert column(tried, "stage") == ["train: features", "train runs/one, steps of 8"]
    assert column(tried, "samples") == [20, 6]
    assert column(tried, "source") == ["measured", "measured"]
    assert tried["stages"][1]["basis"] == "3 steps of 8 pairs, cpu"
    trained = performed(TRAIN)
    # the best weights and the adapter: the first checkpoint would come after 100 steps
    assert tried["stages"][1]["disk_bytes"] == 8 * trained["trainable"]
    done = estimated(TRAIN)
    assert (column(done, "source"), column(done, "already_done"), column(done, "samples")) == (["done"], [6], [0])


def test_training_by_a_past_run(shards, untried, monkeypatch):
    shards(bilingual(20))
    run = Path("runs/one")
    (run / "adapter").mkdir(parents=True)
    line = TRAIN.replace("--name one", "--name two").replace("--steps 6", "--steps 100")
    from capivara_cli.cli.parameters import parse_command
    from capivara_cli.models.run_folder import RunDir
    from capivara_cli.pipeline.options import Settings

    options = parse_command(line.split(), Settings()).options
    counts = {"trainable": 1000, "total": 5000}
    RunDir(run).save(request={**options.request, "seed": 0}, parameters=counts, batch={"size": 4}, finished=True)
    timing = '{{"step": {}, "timing": {{"seconds": {}, "peak_bytes": {}}}}}\n'
    steps = [(1, 9.0, 7), (2, 0.4, 2_000_000_000), (3, 0.4, 5), (4, 0.4, 5)]
    (run / "metrics.jsonl").write_text("".join(timing.format(*each) for each in steps))
    record = (
        '{"id": "1", "stage": "train", "source": "modelled", "seconds": 10, "cpu_seconds": 1, "kwh_cpu": 0, '
        '"kwh_gpu": 0, "kwh_ram": 0, "kwh": 0.001, "co2e_g": 1, "device": "cpu"}'
    )
    (run / "footprint.json").write_text(f'{{"records": [{record}]}}')
    _, row = estimated(line)["stages"]
    assert (row["source"], row["basis"]) == ("past", "runs/one, the middle of 3 steps")
    # 0.1 s per pair: 100 steps of 8, and 33 times half a step of the four images that are held out
    assert row["seconds"] == pytest.approx(80 + 100 / 3 * 4 * 0.1 / 2, abs=0.1)
    assert row["memory_bytes"] == 2_000_000_000
    assert row["disk_bytes"] == 1000 * (12 + 2 * 4)  # one checkpoint, the best weights and the adapter
    assert row["kwh"] == pytest.approx(row["seconds"] * 1e-4, rel=1e-2)
    assert untried == []


def test_training_without_the_weights_is_assumed(shards, untried):
    shards(bilingual(20))
    summary = estimated("train shards --lang pt --steps 200 --batch-size 10 --no-energy")
    features, row = summary["stages"]
    assert (features["samples"], features["source"], row["source"]) == (20, "assumed", "assumed")
    assert row["basis"].startswith("5.8 GFLOP per pair at ")  # 2.7 forward and back, 0.15 of it once more
    assert row["disk_bytes"] == 28 * (12 * 2 * 2 * 768 * 8 + 819_200)
    assert any("not on this machine yet" in each for each in summary["remarks"])


def test_evaluating(shards, untried):
    shards(bilingual(30))
    summary = estimated("eval toy:50 shards --model toy --lang en,pt")
    assert column(summary, "stage") == ["eval toy:50", "eval"]
    assert column(summary, "samples") == [50, 30]
    assert column(summary, "captions") == [100, 60]
    assert untried[0]["steps"] == [
        {"step": "filter", "options": {**untried[0]["steps"][0]["options"], "model": "toy", "lang": "en,pt"}}
    ]


def test_a_whole_method_goes_on_from_what_would_be_there(untried, here):
    line = (
        "adapt toy:100 --lang hi --captioner toy --n 2 --translator toy --model toy --top-k 2 --steps 20 "
        "--batch-size 16 --warmup 2 --seeds 2 --eval heldout,toy --name all"
    )
    summary = estimated(line)
    assert tree(here) == {}
    stages = dict(zip(column(summary, "stage"), zip(*(column(summary, key) for key in ("samples", "captions")),
                      strict=True), strict=True))  # fmt: skip
    assert stages["pack"] == (100, 100)
    assert stages["caption"][0] == stages["filter"][0] == stages["dedupe"][0] == 90
    assert stages["caption"][1] == 90 * 3
    assert stages["dedupe"][1] == 90 * 4  # the two best of each language
    assert stages["train runs/all-seed0, steps of 16"] == stages["train runs/all-seed1, steps of 16"] == (20, 0)
    assert stages["eval"][0] == 10
    assert stages["eval toy"][0] == 300


def test_the_demo(untried, here):
    summary = estimated("demo --scenes 200 --seeds 1")
    assert tree(here) == {}
    assert column(summary, "samples")[0] == 200
    assert summary["command"] == "demo"


def test_as_people_meet_it(shards, here):
    shards(toy_like(4))
    words = [sys.executable, "-m", "capivara_cli", "train", "shards", "--lang", "pt", "--dry-run", "--json"]
    said = subprocess.run([*words, "--patience", "1"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (said.returncode, said.stdout) == (2, "")
    words = [sys.executable, "-m", "capivara_cli", "dedupe", "--dry-run"]
    said = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (said.returncode, said.stdout) == (0, "")
    assert "shards: 4 samples in 1 shard" in said.stderr
    assert "dedupe: measured now: on 4 of your samples" in said.stderr
