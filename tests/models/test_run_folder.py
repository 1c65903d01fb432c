"""A run folder: which checkpoints and lines stay, and which requests it accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.finished import finished_document

from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_folder import RunDir, open_run
from capivara_cli.storage.checksums import read_checked
from capivara_cli.storage.files import partial_path


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = RunDir(tmp_path / "pt")
    made.save(request={"lang": "pt", "lr": 0.01, "seed": 0}, step=0, finished=False)
    return made


def test_the_last_two_checkpoints_stay_and_the_best(run: RunDir) -> None:
    run.save_best(b"best")
    for step in (5, 10, 1000, 999_999, 1_000_000):
        run.save_checkpoint(step, str(step).encode())
        assert read_checked(run.checkpoint(step)) == str(step).encode()
    assert run.checkpoint_steps() == [999_999, 1_000_000]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        "best.pt", "step-1000000.pt", "step-999999.pt",
    ]  # fmt: skip


def test_lines_up_to_the_checkpoint_stay(run: RunDir) -> None:
    rest = {"loss": 1.0, "terms": {}, "lr": 0.1, "logit_scale": 2.0, "tokens": 3, "padded": 3, "timing": {}}
    lines = [{"step": step, **rest} for step in range(1, 6)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.cut_metrics(3)
    assert run.read_metrics() == lines[:3]
    run.cut_metrics(0)
    assert run.read_metrics() == [] and run.metrics.read_text() == ""


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"lang": "pt", "lr": 0.01, "seed": 0}, ""),
        ({"lang": "pt", "lr": 0.01, "seed": 1}, "holds a run with --seed 0, now it is --seed 1"),
        ({"lang": "pt", "seed": 0}, "holds a run with --lr 0.01, now it is --lr None"),
        ({"lang": "pt", "lr": 0.01, "seed": 0, "views": 2}, "holds a run with --views None, now it is --views 2"),
    ],
)
def test_a_run_with_a_saved_step_accepts_only_its_own_request(run: RunDir, request_: Any, says: str) -> None:
    RunDir(run.path).check_request({"lang": "hi"}, {})  # without a saved step it is replaced
    run.save_checkpoint(1, b"x")
    if not says:
        RunDir(run.path).check_request(request_, {})
        return
    with pytest.raises(CapivaraError) as raised:
        RunDir(run.path).check_request(request_, {})
    assert raised.value.message == f"{run.path}: {says}"


def test_only_the_first_process_writes(run: RunDir) -> None:
    run.writes = False
    run.save(step=7)
    assert run.document["step"] == 7 and RunDir(run.path).document["step"] == 0


def test_a_run_is_open_with_its_last_file_and_its_adapter_alone(run: RunDir) -> None:
    for steps, shown in ((1500, "1,500"), (None, r"\?"), ("many", r"\?")):
        run.save(request={"lang": "pt", "steps": steps})
        with pytest.raises(CapivaraError, match=f"unfinished: step 0 of {shown}$"):
            open_run(run.path)
    run.save(**finished_document())
    with pytest.raises(CapivaraError, match="unfinished"):
        open_run(run.path)
    run.adapter.mkdir()
    assert open_run(run.path).finished
    assert "adapter_model.safetensors: damaged or replaced" in run.damage()
    (run.adapter / "adapter_model.safetensors").write_bytes(b"weights")
    assert run.damage() == ""


@pytest.mark.parametrize("left", ["adapter", "metrics.jsonl", "checkpoints"])
def test_what_is_left_of_a_run_without_its_document_is_refused_or_overwritten(run: RunDir, left: str) -> None:
    path = run.path / left
    path.write_text("x") if path.suffix else path.mkdir()
    (run.path / "notes.txt").write_text("mine")
    (run.path / "run.json").unlink()
    with pytest.raises(CapivaraError, match=r"pt: its run\.json is missing") as caught:
        RunDir(run.path).check_request({"lang": "pt"}, {})
    assert "delete the folder" in caught.value.hint and "--overwrite" in caught.value.hint
    again = RunDir(run.path)
    again.check_request({"lang": "pt"}, {}, overwrite=True)
    assert again.outdated
    again.clear()
    assert [each.name for each in run.path.iterdir()] == ["notes.txt"]
    with pytest.raises(CapivaraError, match="not empty, and not a run"):
        RunDir(run.path).check_request({"lang": "pt"}, {}, overwrite=True)


def test_a_temporary_file_that_a_kill_left_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "pt").mkdir()
    partial_path(tmp_path / "pt" / "run.json").write_text("{")
    RunDir(tmp_path / "pt").check_request({"lang": "pt"}, {})
