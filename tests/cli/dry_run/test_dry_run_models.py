"""`--dry-run` with the toy models: tried on some samples in another process; training, evaluating, whole methods."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import variants
from support.made import a_sample, toy_like
from support.rehearsing import column, estimated, performed, tree
from support.warm import CAPIVARA

from capivara_cli.cli.dry_run import trial_client
from capivara_cli.errors import CapivaraError
from capivara_cli.shards.archive import open_shard
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
    with open_shard(str(path)) as reader:
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
    assert column(summary, "source") == ["unknown"]
    assert summary["remarks"] == ["caption: could not be tried: a trial took more than 0 s"]


def test_training_is_tried_until_it_is_done(shards, here):
    shards(bilingual(20))
    before = tree(here)
    tried = estimated(TRAIN)
    assert tree(here) == before
    assert column(tried, "stage") == ["train: features", "train runs/one, steps of 8"]
    assert column(tried, "samples") == [20, 6]
    assert column(tried, "source") == ["measured", "measured"]
    assert tried["stages"][1]["basis"] == "3 steps of 8 pairs; validation is not included"
    assert all(row["kwh"] > 0 and row["seconds"] > 0 for row in tried["stages"])
    performed(TRAIN)
    run, store = (sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                  for folder in (Path("runs/one"), Path("runs/.features")))  # fmt: skip
    best = Path("runs/one/checkpoints/best.pt").stat().st_size  # of a validation, which is not tried
    assert tried["stages"][0]["disk_bytes"] == pytest.approx(store, rel=0.1)
    assert tried["stages"][1]["disk_bytes"] == pytest.approx(run - best, rel=0.2)
    done = estimated(TRAIN)
    assert (column(done, "source"), column(done, "already_done"), column(done, "samples")) == (["done"], [6], [0])


def test_training_by_what_was_measured(shards, tried):
    shards(bilingual(20))
    tried.append({"train": {
        "samples": 10, "loading": 3.0, "features": 2.0, "steps": [0.4, 0.5, 0.4], "pairs": 4, "watts": 36.0,
        "store_bytes": 1000, "run_bytes": 5000, "checkpoint_bytes": 700, "peak": 2_000_000_000,
    }})  # fmt: skip
    summary = estimated(TRAIN.replace("--steps 6", "--steps 250"))
    features, row = summary["stages"]
    assert (features["seconds"], features["disk_bytes"]) == (4.0, 2000)
    assert row["seconds"] == 3 + 250 * 8 * 0.1
    assert row["samples_per_second"] == 1.25
    assert (row["memory_bytes"], row["disk_bytes"]) == (2_000_000_000, 5000 + 2 * 700)
    assert row["kwh"] == pytest.approx(row["seconds"] * 36 / 3.6e6)
    (_, limited) = estimated(TRAIN + " --memory 3GB")["stages"]
    assert limited["memory_bytes"] == 3_000_000_000


def test_training_without_the_weights_is_not_known(shards, untried):
    shards(bilingual(20))
    summary = estimated("train shards --lang pt --steps 200 --batch-size 10 --no-energy")
    features, row = summary["stages"]
    assert (features["samples"], features["seconds"], row["samples"], row["seconds"]) == (20, None, 200, None)
    assert summary["unknown"] == ["train: features", "train runs/pt, steps of 10"]
    assert any(each.endswith("are needed; not on this machine yet") for each in summary["remarks"])


def test_an_eval_set_is_counted_and_tried(shards, here):
    before = tree(here)
    (row,) = estimated("eval toy:50 --model toy --lang en,pt")["stages"]
    assert tree(here) == before
    assert (row["stage"], row["samples"], row["captions"], row["source"]) == ("eval toy:50", 50, 100, "measured")
    assert row["basis"] == "on 32 samples, for 1 model"
    assert row["seconds"] > 0 and row["memory_bytes"] > 2e7


def test_an_eval_set_that_would_be_downloaded_is_not_known(here, monkeypatch):
    monkeypatch.setenv("CAPIVARA_CACHE", str(here / "cache"))
    summary = estimated("eval xtd --model toy --lang en")
    (row,) = summary["stages"]
    assert (row["samples"], row["seconds"], row["source"]) == (None, None, "unknown")
    assert row["basis"].startswith("the captions of XTD10 (0.8 MB) are needed")
    assert row["basis"].endswith("; not on this machine yet")
    assert not (here / "cache").exists()


def test_evaluating_by_what_was_measured(shards, tried):
    shards(bilingual(30))
    Path("run").mkdir()
    means = {"samples": 30, "bytes": 30_000, "captions": [["en", "", 30], ["pt", "", 30]]}
    both = {"samples": 30, "watts": 36.0, "peak": 10**9, "before": means, "after": means}
    tried += [{"step": 0, "start": 2.0, "each": 0.5, **both}, {"step": 1, "start": 0.0, "each": 0.1, **both}]
    (row,) = estimated("eval shards --model toy --lang en,pt")["stages"]
    assert (row["samples"], row["captions"], row["seconds"]) == (30, 60, 2 + 30 * 0.5)
    tried.append({"counted": 50, "means": {"samples": 30, "bytes": 30_000, "captions": [["en", "", 30]]}})
    (row,) = estimated("eval toy:50 --model toy --lang en,pt")["stages"]
    assert (row["samples"], row["captions"], row["seconds"]) == (50, 100, 2 + 50 * (0.5 + 0.1))


def test_a_set_without_captions_is_not_known(tried):
    tried.append({"counted": 9, "means": {"samples": 9, "bytes": 900, "captions": []}})
    (row,) = estimated("eval toy:9 --model toy")["stages"]
    assert (row["samples"], row["seconds"]) == (9, None)
    assert row["basis"] == "it has no captions; classification is not tried"


@variants.only_with_all("plans, training and sets above; the demo below")
def test_a_whole_method_goes_on_from_what_would_be_there(here):
    line = (
        "adapt toy:40 --lang hi --captioner toy --n 2 --translator toy --model toy --top-k 2 --steps 4 "
        "--batch-size 8 --warmup 2 --seeds 2 --eval heldout,toy:20 --name all"
    )
    summary = estimated(line)
    assert tree(here) == {}
    assert (summary["unknown"], set(column(summary, "source"))) == ([], {"measured"})
    stages = dict(zip(column(summary, "stage"), zip(*(column(summary, key) for key in ("samples", "captions")),
                      strict=True), strict=True))  # fmt: skip
    assert stages["pack"] == (40, 40)
    assert stages["caption"][0] == stages["filter"][0] == stages["dedupe"][0] == 36
    assert stages["caption"][1] == 36 * 3
    assert stages["dedupe"][1] == pytest.approx(36 * 4, rel=0.1)  # the two best of each language, a few dropped
    assert stages["train runs/all-seed0, steps of 8"] == stages["train runs/all-seed1, steps of 8"] == (4, None)
    assert stages["eval"][0] == 4
    assert stages["eval toy:20"][0] == 20


def test_of_the_demo_the_stages_are_named_even_if_nothing_can_be_tried(untried, here):
    summary = estimated("demo --scenes 200 --seeds 1")
    assert tree(here) == {}
    assert column(summary, "samples")[0] == 200
    assert set(column(summary, "seconds")) == {None}
    assert column(summary, "stage")[-2:] == ["train runs/demo-pt, steps of 96", "eval toy"]
    assert "not known: a command that makes it could not be tried" in "".join(summary["inputs"])
    assert summary["command"] == "demo"


def test_as_people_meet_it(shards, here):
    shards(toy_like(4))
    words = [*CAPIVARA, "train", "shards", "--lang", "pt", "--dry-run", "--json"]
    said = subprocess.run([*words, "--patience", "1"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (said.returncode, said.stdout) == (2, "")
    words = [*CAPIVARA, "dedupe", "--dry-run"]
    said = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (said.returncode, said.stdout) == (0, "")
    assert "shards: 4 samples in 1 shard" in said.stderr
    assert "dedupe: measured now: on 4 of your samples" in said.stderr
