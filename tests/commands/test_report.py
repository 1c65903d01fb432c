"""``report`` of patterns: the runs among the folders, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from reliability.running import run
from support.reported import a_run


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Two runs, the data of ``adapt`` and an empty folder beside them, and a folder without a run."""
    for name in ("pt", "hi"):
        a_run(tmp_path / "runs" / name, lang=name)
    (tmp_path / "runs" / "pt-data" / "packed").mkdir(parents=True)
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "nothing").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "names", [["runs/*"], ["runs/empty", "runs/hi", "runs/pt", "runs/pt-data"]], ids=["quoted", "expanded by the shell"]
)
def test_folders_that_are_no_runs_are_passed_over_beside_runs(names: list[str], here: Path) -> None:
    ran = run(["report", *names, "--out", "page.html"], here)
    assert ran.code == 0, ran.said
    for name in ("runs/pt-data", "runs/empty"):
        assert f"warning: {name}: not a run folder, so it is passed over" in ran.said
    assert "page.html" in ran.said and (here / "page.html").is_file()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["runs/pt-data"], "runs/pt-data: no run.json: not a run folder"),
        (["nothing", "runs/empty"], "nothing: no run.json: not a run folder"),
        (["runs/pt*a"], "runs/pt-data: no run.json: not a run folder"),
        (["runs/pt", "runs/gone"], "runs/gone: no run.json: not a run folder"),
    ],
)
def test_without_a_run_or_with_a_wrong_name_it_is_an_error(names: list[str], says: str, here: Path) -> None:
    ran = run(["report", *names, "--out", "page.html"], here)
    assert (ran.code, says in ran.said) == (1, True), ran.said
    assert not (here / "page.html").exists()
