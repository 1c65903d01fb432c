"""Commands as functions: they return what the command line shows, and can be resumed like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.made import shard_bytes, toy_like

import capivara_cli as capivara
from capivara_cli.shards.sample import Caption

SMALL = {"model": "toy", "steps": 2, "batch_size": 4, "warmup": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Portuguese shards and a run on them."""
    folder = tmp_path_factory.mktemp("library")
    samples = [each.with_captions([*each.captions, Caption("um quadrado", "pt", "me")]) for each in toy_like(6)]
    (folder / "ready").mkdir()
    (folder / "ready" / "00000.tar").write_bytes(shard_bytes(samples))
    small: Any = SMALL
    capivara.train(folder / "ready", lang="pt", out=folder / "runs" / "pt", **small)
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> capivara.Run:
    monkeypatch.chdir(folder)
    return capivara.Run("runs/pt")


def test_a_run_is_resumed_and_another_one_refused(run: capivara.Run) -> None:
    import torch

    small: Any = SMALL
    before, state = Path("runs/pt/run.json").read_bytes(), torch.get_rng_state()
    again = capivara.train("ready", lang="pt", out="runs/pt", **small)
    assert Path("runs/pt/run.json").read_bytes() == before
    assert (again.folder, again.summary["steps"], again.runs) == (Path("runs/pt"), 2, [again])
    assert json.loads(before)["request"]["lang"] == "pt"
    with pytest.raises(capivara.CapivaraError, match="holds a run with lang pt, now it is lang hi"):
        capivara.train("ready", lang="hi", out="runs/pt", **small)
    assert torch.equal(torch.get_rng_state(), state)


def test_several_runs_are_all_returned(run: capivara.Run) -> None:
    import torch

    small: Any = SMALL
    state = torch.get_rng_state()
    first = capivara.train(capivara.read("ready"), lang=["pt"], seeds=2, runs="several", energy=False, **small)
    assert [str(each.folder) for each in first.runs] == ["several/pt-seed0", "several/pt-seed1"]
    assert [each.summary["seed"] for each in first.runs] == [0, 1]
    assert torch.equal(torch.get_rng_state(), state), "training seeds the random numbers of the program"


def test_one_script_trains_in_one_process(run: capivara.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(capivara.UsageError, match="in one process only") as caught:
        capivara.train("ready", lang="pt")
    assert "-m capivara_cli train" in caught.value.hint


def test_an_evaluation_has_a_table_and_rows(run: capivara.Run) -> None:
    found = run.evaluate("toy:30", lang=["pt", "en"], k=[1, 5], device="cpu", model="toy", energy=False)
    rows = [each for each in found.rows if each["task"] == "retrieval"]
    assert [(each["lang"], each["model"], each["n_images"]) for each in rows] == [
        ("pt", "toy", 30), ("pt", "runs/pt", 30), ("en", "toy", 30), ("en", "runs/pt", 30),
    ]  # fmt: skip
    assert list(rows[0]["text_to_image"]) == ["R@1", "R@5", "mean"]
    assert rows[1]["versus"]["model"] == "toy"
    assert found.table.startswith("retrieval, recall in percent")
    assert str(found) == repr(found) == found.table
    stored = [each for each in run.results.rows if each["model"] == "runs/pt"]
    assert stored == [each for each in found.rows if each["model"] == "runs/pt"]


def test_a_run_is_opened_and_stands_for_its_path(run: capivara.Run) -> None:
    assert (str(run.folder), run.summary, repr(run)) == ("runs/pt", {}, "<run runs/pt>")
    assert run.model(device="cpu").embed_texts(["um quadrado"]).shape == (1, 128)
    found = capivara.search("um quadrado", "ready", model=run, k=3, device="cpu")
    assert [each.rank for each in found] == [1, 2, 3]
    assert found[0].captions[0].lang == "pt", "the language of the run comes first"
    assert capivara.footprint(run).total["runs"] >= 1
    for wrong in ("ready", "nowhere"):
        with pytest.raises(capivara.CapivaraError, match="not a run folder"):
            capivara.Run(wrong)


def test_images_are_found_by_an_image(run: capivara.Run) -> None:
    sample = next(iter(capivara.read("ready")))
    Path("query.jpg").write_bytes(sample.members["jpg"])
    best = capivara.search(Path("query.jpg"), "ready", model="toy", k=1, device="cpu")
    assert (best[0].key, best[0].shard) == ("00000", "ready/00000.tar")
    assert best[0].score > 0.999
    with pytest.raises(capivara.CapivaraError, match="query is empty"):
        capivara.search(" ", "ready", model="toy")
    wrong: Any = 3
    with pytest.raises(capivara.UsageError, match="a query is a text"):
        capivara.search(wrong, "ready")


def test_a_run_is_exported_to_a_new_folder(run: capivara.Run) -> None:
    found = capivara.export(run, "clip-pt", format="peft")
    assert found == Path("clip-pt")
    assert (found / "adapter_config.json").is_file()
    with pytest.raises(capivara.CapivaraError, match="exists already"):
        capivara.export(run, "clip-pt", format="peft")


def test_a_footprint_is_that_of_the_chain(run: capivara.Run) -> None:
    found = capivara.footprint(["runs/pt"], country="BRA")
    assert "train" in [each["stage"] for each in found.stages]
    assert found.total["kwh"] == pytest.approx(sum(each["kwh"] for each in found.stages))
    assert {each["country"] for each in found.records} == {"BRA"}
    assert found.table.startswith("stage")
    with pytest.raises(capivara.CapivaraError, match="no such file or folder"):
        capivara.footprint("nowhere")


def test_a_training_works_in_a_thread(run: capivara.Run) -> None:
    import threading

    small: Any = SMALL
    found: list[Any] = []

    def work() -> None:
        found.append(capivara.train("ready", lang="pt", out="runs/thread", energy=False, **small))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [str(each.folder) for each in found] == ["runs/thread"]
    adapter = "adapter/adapter_model.safetensors"
    assert (found[0].folder / adapter).read_bytes() == (run.folder / adapter).read_bytes()


def test_the_whole_method_is_one_call(run: capivara.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """``adapt`` gets what its command would get; that command has tests of its own."""
    asked: list[Any] = []

    def performed(invocation: Any) -> dict[str, Any]:
        asked.append(invocation)
        return {"run": "runs/pt", "runs": ["runs/pt"], "before_and_after": []}

    monkeypatch.setattr("capivara_cli.library.commands.performed", performed)
    found = capivara.adapt(
        Path("photos"), lang="pt", eval=["toy", "heldout"], lr=1, set=["train.peft=lit", "caption.prefixes=a b"], seed=3
    )
    (invocation,) = asked
    assert (invocation.command.name, invocation.inputs, invocation.settings.seed) == ("adapt", ["photos"], 3)
    options = invocation.options
    assert (options.lang, options.eval, options.lr, options.n) == ("pt", "toy,heldout", 1.0, None)
    assert options.set == "train.peft=lit 'caption.prefixes=a b'"
    assert (found.folder, found.runs, found.summary["before_and_after"]) == (Path("runs/pt"), [found], [])
