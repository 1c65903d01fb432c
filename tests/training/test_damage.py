"""What is damaged between two commands is found, said and made again: the run then equals a clean one."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import variants
from support.tiny import pairs
from support.warm import CAPIVARA

from capivara_cli.commands.train import Options, train
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, changed
from capivara_cli.pipeline.source import Source
from capivara_cli.storage.files import sweep
from capivara_cli.training.loop import Trainer
from capivara_cli.training.store import FeatureStore, features

Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def deleted(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    """One bit in the middle is another; size and time stay."""
    data, info = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    import os

    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


DAMAGES: dict[str, Damage] = {"cut": cut, "emptied": emptied, "deleted": deleted, "flipped": flipped}


@pytest.fixture(scope="module")
def clip(tiny: Path) -> Clip:
    return load_clip(f"local-dir:{tiny}")


@pytest.fixture
def opened(clip: Clip, shards: Callable[..., Path], tmp_path: Path) -> Callable[..., FeatureStore]:
    """Open the feature store of some shards, which is made if need be."""
    folder = shards(pairs(6))

    def read(**given: Any) -> FeatureStore:
        env = Env(Settings(), "train")
        return features(Source([str(folder)], env), clip, tmp_path / "features", env, **given)

    return read


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("name", "damage"),
    variants.some([*itertools.product(["images", "tokens", "source", "texts", "store.json"], DAMAGES)], 7),
)
def test_a_damaged_feature_store_is_said_and_made_again(
    name: str, damage: str, opened: Callable[..., FeatureStore], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = opened().folder
    clean = contents(folder)
    DAMAGES[damage](folder / name)
    store = opened()
    assert store.folder == folder and contents(folder) == clean
    assert f"{folder}: damaged ({name}), so it is made again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"), [("languages", ["xx", "en"]), ("fingerprint", "sha256:0"), ("read", 5), ("notes", {"x": 1})]
)
def test_an_altered_document_of_a_feature_store_is_found(
    key: str, value: Any, opened: Callable[..., FeatureStore], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = opened().folder
    clean = contents(folder)
    document = json.loads((folder / "store.json").read_text())
    assert document[key] != value
    (folder / "store.json").write_text(json.dumps({**document, key: value}))
    opened()
    assert contents(folder) == clean
    assert "damaged (store.json), so it is made again" in capsys.readouterr().err


def test_damaged_pixels_are_found_where_they_are_read_and_made_again(opened: Callable[..., FeatureStore]) -> None:
    store = opened(pixels=True)
    clean = [store.pixels[image].copy() for image in range(6)]
    flipped(store.folder / "pixels")
    damaged = opened(pixels=True)
    with pytest.raises(CapivaraError, match=r"pixels: damaged: image \d is not that of its checksum") as caught:
        [damaged.pixels[image] for image in range(6)]
    assert "run the same command again" in caught.value.hint
    again = opened(pixels=True)
    for image in range(6):
        np.testing.assert_array_equal(again.pixels[image], clean[image])


def test_a_damaged_store_of_a_stream_is_made_again(
    clip: Clip, shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shards(pairs(6))
    monkeypatch.setattr("capivara_cli.training.store.file_states", lambda paths: None)  # as for a pipe

    def read() -> FeatureStore:
        env = Env(Settings(), "train")
        return features(Source([str(folder)], env), clip, tmp_path / "features", env)

    store = read()
    clean = contents(store.folder)
    flipped(store.folder / "tokens")
    assert contents(read().folder) == clean
    assert [path.name for path in (tmp_path / "features").iterdir()] == [store.folder.name]


# --- checkpoints ---
STEPS, EVERY, STOPPED = 12, 4, 10


@pytest.fixture(scope="module")
def stopped(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Options]:
    """A folder with ``shards``, the run ``clean`` and ``pt``, which stopped after step 10 of 12; its options."""
    import torch
    from support.made import shard_bytes

    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("stopped")
    (place / "shards").mkdir()
    (place / "shards" / "00000.tar").write_bytes(shard_bytes(pairs(24)))
    options = build(
        Options, lang="pt", model=f"local-dir:{tiny}", runs=str(place / "runs"), steps=STEPS, batch_size=8, lr=1e-2,
        warmup=2, checkpoint_every=EVERY, val="0.3", val_every=3, name="pt",
    )  # fmt: skip
    trained(place, changed(options, name="clean"))
    trained(place, changed(options, name="other"), seed=1)
    step = Trainer._step

    def stopping(self: Trainer, number: int) -> Any:
        if number == STOPPED:
            raise CapivaraError("the power went")
        return step(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        with pytest.raises(CapivaraError, match="the power went"):
            trained(place, options)
    assert RunDir(place / "runs" / "pt").checkpoint_steps() == [4, 8]
    return place, options


def trained(place: Path, options: Options, seed: int = 0, overwrite: bool = False) -> dict[str, Any]:
    env = Env(Settings(seed=seed, device="cpu", overwrite=overwrite), "train")
    return train.run([str(place / "shards")], options, env)


def results(folder: Path) -> tuple[str, list[Any], Any]:
    """The adapter, the losses, and what the document says of the result."""
    run = RunDir(folder)
    losses = [(line["step"], line["loss"], line.get("val")) for line in run.read_metrics()]
    result = {key: value for key, value in run.document["result"].items() if "second" not in key}
    weights = hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()
    return weights, losses, {**result, "peak_bytes": 0}


def of_another_run(run: Path) -> None:
    shutil.copy(run.parent / "other" / "checkpoints" / f"step-{STEPS:06d}.pt", run / "checkpoints" / "step-000008.pt")


def without_optimizer(run: Path) -> None:
    import torch

    path = run / "checkpoints" / "step-000008.pt"
    state = torch.load(path, weights_only=True)
    del state["optimizer"]
    torch.save(state, path)


def a_metric_altered(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace('"loss": ', '"loss": 1')
    (run / "metrics.jsonl").write_text("".join(lines))


def only(name: str, damage: Damage) -> Damage:
    return lambda run: damage(run / name)


LAST, FIRST, BEST = (f"checkpoints/{name}.pt" for name in ("step-000008", "step-000004", "best"))
CHECKPOINTS: dict[str, tuple[Damage, str]] = {
    **{f"the last one {name}": (only(LAST, damage), "going on from step 4") for name, damage in DAMAGES.items()},
    "both flipped": (lambda run: (flipped(run / LAST), flipped(run / FIRST)), "starting over"),
    "of another run": (of_another_run, "going on from step 4"),
    "without its optimizer": (without_optimizer, "going on from step 4"),
    "the best one flipped": (only(BEST, flipped), "starting over"),
    "the best one deleted": (only(BEST, deleted), "starting over"),
    "metrics emptied": (only("metrics.jsonl", emptied), "starting over"),
    "metrics deleted": (only("metrics.jsonl", deleted), "starting over"),
    "a line of the metrics altered": (a_metric_altered, "going on from step 4"),
    "nothing is damaged": (lambda run: None, "resumed at step 9 of 12"),
}


@pytest.mark.parametrize("case", variants.some([*CHECKPOINTS], 5))
def test_a_run_with_a_damaged_checkpoint_becomes_the_clean_run(
    case: str, stopped: tuple[Path, Options], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, options = stopped
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    damage, says = CHECKPOINTS[case]
    damage(runs / "pt")
    trained(place, changed(options, runs=str(runs)))
    said = capsys.readouterr().err
    if case == "the last one deleted":
        assert "resumed at step 5 of 12" in said
    else:
        assert says in said
    assert results(runs / "pt") == results(place / "runs" / "clean")


def test_the_best_weights_lost_before_the_end_are_an_error_that_another_run_mends(
    stopped: tuple[Path, Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, options = stopped
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    choose = Trainer._choose_weights

    def after_damage(self: Trainer) -> None:
        flipped(self.run.best)
        choose(self)

    monkeypatch.setattr(Trainer, "_choose_weights", after_damage)
    with pytest.raises(CapivaraError, match=r"best\.pt: cannot be used") as caught:
        trained(place, changed(options, runs=str(runs)))
    assert "run the same command again" in caught.value.hint
    monkeypatch.setattr(Trainer, "_choose_weights", choose)
    trained(place, changed(options, runs=str(runs)))
    assert results(runs / "pt") == results(place / "runs" / "clean")


# --- a finished run ---
FILES = [*itertools.product(["adapter_model.safetensors", "adapter_config.json", "base.json"], DAMAGES)]


@pytest.mark.parametrize(("name", "damage"), variants.some(FILES, 3))
def test_a_damaged_adapter_is_refused_wherever_it_is_read(
    name: str, damage: str, stopped: tuple[Path, Options], tmp_path: Path
) -> None:
    place, options = stopped
    run = shutil.copytree(place / "runs" / "clean", tmp_path / "runs" / "clean")
    DAMAGES[damage](run / "adapter" / name)
    says = f"adapter/{name}: damaged or replaced: its checksum is not the one in run.json"
    with pytest.raises(CapivaraError, match=says):
        load_clip(str(run))
    with pytest.raises(CapivaraError, match=says):
        trained(place, changed(options, runs=str(tmp_path / "more"), continue_from=str(run)))


@pytest.mark.parametrize(("name", "damage"), variants.some(FILES, 3))
def test_a_damaged_adapter_is_made_again_from_the_last_checkpoint(
    name: str, damage: str, stopped: tuple[Path, Options], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, options = stopped
    clean = place / "runs" / "clean"
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    DAMAGES[damage](runs / "clean" / "adapter" / name)
    trained(place, changed(options, runs=str(runs), name="clean"))
    said = capsys.readouterr().err
    assert (
        f"warning: {runs}/clean/adapter/{name}: damaged or replaced: its checksum is not the one in run.json: " in said
    )
    assert f"resumed after the last step, {STEPS}" in said
    assert "evaluate again" not in said and "(0 pairs/s)" not in said
    assert contents(runs / "clean" / "adapter") == contents(clean / "adapter")
    assert results(runs / "clean") == results(clean)
    trained(place, changed(options, runs=str(runs), name="clean"))
    assert f"{runs}/clean: already finished" in capsys.readouterr().err


def without_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def without_the_last_checkpoint(run: Path) -> None:
    (run / "checkpoints" / f"step-{STEPS:06d}.pt").unlink()


FALLBACKS: dict[str, tuple[Damage, str]] = {
    "no checkpoint": (without_checkpoints, ""),
    "the last but one": (without_the_last_checkpoint, "resumed at step 9 of 12"),
    "checkpoints that do not fit the metrics": (only("metrics.jsonl", emptied), "starting over"),
    "no adapter at all": (lambda run: shutil.rmtree(run / "adapter"), "resumed after the last step"),
}


@pytest.mark.parametrize("case", FALLBACKS)
def test_a_damaged_adapter_is_trained_again_from_what_there_is(
    case: str, stopped: tuple[Path, Options], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, options = stopped
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    run, (damage, says) = runs / "clean", FALLBACKS[case]
    cut(run / "adapter" / "adapter_model.safetensors")
    damage(run)
    trained(place, changed(options, runs=str(runs), name="clean"))
    assert says in capsys.readouterr().err
    assert contents(run / "adapter") == contents(place / "runs" / "clean" / "adapter")
    assert results(run) == results(place / "runs" / "clean")


def test_a_damaged_adapter_of_a_run_on_other_data_is_refused_and_can_still_be_restored(
    stopped: tuple[Path, Options], tmp_path: Path, shards: Callable[..., Path]
) -> None:
    place, options = stopped
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    weights = runs / "clean" / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    cut(weights)
    with pytest.raises(CapivaraError, match="was trained on other data"):
        train.run([str(shards(pairs(20)))], changed(options, runs=str(runs), name="clean"), Env(Settings(), "train"))
    weights.write_bytes(whole)
    load_clip(str(runs / "clean"))


def test_other_weights_in_place_of_damaged_ones_ask_for_another_evaluation(
    stopped: tuple[Path, Options], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, options = stopped
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    run = RunDir(runs / "clean")
    run.save(adapter_sha256="0" * 64, adapter_files={})  # as if another processor had trained it
    (run.path / "eval.json").write_text("{}")
    trained(place, changed(options, runs=str(runs), name="clean"))
    assert (
        f"the new weights are not those that {run.path}/eval.json is about: evaluate again" in capsys.readouterr().err
    )


@pytest.mark.parametrize("form", ["open-clip", "peft"])
def test_damaged_files_of_an_exported_model_are_refused(
    form: str, stopped: tuple[Path, Options], tmp_path: Path
) -> None:
    from capivara_cli.commands.export import Options as ExportOptions
    from capivara_cli.commands.export import export

    place, _ = stopped
    env = Env(Settings(out=str(tmp_path / "out")), "export")
    export.run([str(place / "runs" / "clean")], ExportOptions(format=form), env)
    weights = tmp_path / "out" / ("adapter_model.safetensors" if form == "peft" else "open_clip_model.safetensors")
    before = weights.read_bytes()
    load_clip(str(tmp_path / "out"))
    names = [weights.name, "adapter_config.json"] if form == "peft" else [weights.name, "tokenizer.json"]
    for name in names:
        before = (tmp_path / "out" / name).read_bytes()
        flipped(tmp_path / "out" / name)
        with pytest.raises(CapivaraError, match=f"{name}: damaged or replaced"):
            load_clip(str(tmp_path / "out"))
        (tmp_path / "out" / name).write_bytes(before)


def test_overwrite_replaces_another_run_and_no_foreign_file(stopped: tuple[Path, Options], tmp_path: Path) -> None:
    place, options = stopped
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    (runs / "other" / "notes.txt").write_text("mine")
    asked = changed(options, runs=str(runs), name="other")
    with pytest.raises(CapivaraError, match="holds a run with --seed 1, now it is --seed 0") as caught:
        trained(place, asked)
    assert "--overwrite" in caught.value.hint
    trained(place, asked, overwrite=True)
    assert results(runs / "other") == results(place / "runs" / "clean")
    assert (runs / "other" / "notes.txt").read_text() == "mine"
    foreign = runs / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    with pytest.raises(CapivaraError, match="not empty, and not a run"):
        trained(place, changed(asked, name="foreign"), overwrite=True)
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]


# --- two at once ---
SLOW = """
import time
from capivara_cli.__main__ import main
from capivara_cli.training import {module}
slow = {module}.{name}
def slowly(*given, **more):
    time.sleep(3)
    return slow(*given, **more)
{module}.{name} = slowly
main()
"""


def two_at_once(place: Path, code: str, *names: str) -> list[str]:
    """What two trainings say that run at the same time; both succeed."""
    words = ["train", "shards", "--lang", "pt", "--model", "toy", "--steps", "2", "--batch-size", "4", "--warmup", "0",
             "--device", "cpu", "--no-energy", "--name"]  # fmt: skip
    begun = [
        subprocess.Popen([*CAPIVARA, "-c", code, *words, name], cwd=place, stderr=subprocess.PIPE, text=True)
        for name in names
    ]
    said = [process.communicate(timeout=300)[1] for process in begun]
    assert [process.returncode for process in begun] == [0, 0], said
    return said


def test_two_trainings_at_once_make_one_feature_store(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(pairs(8))
    said = two_at_once(tmp_path, SLOW.format(module="store", name="_StoreBuilder"), "one", "two")
    assert sum("is writing it; waiting for its end" in each for each in said) == 1, said
    (store,) = (tmp_path / "runs" / ".features").iterdir()
    assert store.is_dir()
    one, two = (results(tmp_path / "runs" / name) for name in ("one", "two"))
    assert one == two


def test_two_trainings_of_one_run_are_one_run(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(pairs(8))
    said = two_at_once(tmp_path, SLOW.format(module="loop", name="Trainer.train"), "one", "one")
    assert sum("already finished" in each for each in said) == 1, said
    assert RunDir(tmp_path / "runs" / "one").finished
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [".features", "one"]


def test_a_claim_of_a_killed_training_is_taken_over(opened: Callable[..., FeatureStore], tmp_path: Path) -> None:
    folder = opened().folder
    shutil.rmtree(folder)
    holder = {"host": "x", "machine": "y", "pid": 1, "started": "1", "since": 1.0, "command": "", "token": "z"}
    claim = folder.with_name(f".{folder.name}.claim")
    claim.write_text(json.dumps(holder))
    import os

    os.utime(claim, (1, 1))
    assert opened().folder == folder
    sweep(folder.parent)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
