"""The engine that starts workers through Ray: the same bytes, whatever dies; and what it says when it cannot."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from support import variants
from support.made import shard_bytes
from support.made_stages import UniqueOptions, WorkOptions, unique, work

from capivara_cli import registry
from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.launchers import ray as ray_engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.sample import Sample

UNIQUE = Step(unique, UniqueOptions())


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number in range(6):
        samples = [Sample(f"{key:05d}", {"json": b"{}"}) for key in range(10 * number, 10 * number + 10)]
        (folder / f"{number:05d}.tar").write_bytes(shard_bytes(samples))
    return folder


def fill(steps: list[Step], shards: Path, out: Path, **settings: object) -> engine.Report:
    return engine.run(steps, [str(shards)], Settings(out=str(out), **{"energy": False, **settings}), None)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def cluster() -> object:
    """A Ray of its own for each test; the engine finds it running and leaves it running."""
    ray = pytest.importorskip("ray")
    with ray_engine._cluster(Settings(workers=2)):
        yield ray


def test_actors_write_what_one_process_writes(
    cluster: object, six: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flag").mkdir()
    (tmp_path / "flag" / "once").touch()
    step = Step(work, WorkOptions(kill="00025", once=str(tmp_path / "flag")))
    alone = fill([Step(work, WorkOptions()), UNIQUE], six, tmp_path / "clean")
    shared = fill([step, UNIQUE], six, tmp_path / "out", engine="ray", workers=2)
    assert content(tmp_path / "out") == content(tmp_path / "clean")
    assert {**shared.summary(), "out": ""} == {**alone.summary(), "out": ""}
    assert "was lost at 00002.tar; another takes its place" in capfd.readouterr().err
    again = fill([step, UNIQUE], six, tmp_path / "out", engine="ray", workers=2)
    assert (again.resumed, again.shards) == (6, 0)
    with pytest.raises(CapivaraError, match="00025: cannot go on") as raised:
        fill([Step(work, WorkOptions(fail="00025"))], six, tmp_path / "other", engine="ray", workers=1)
    assert raised.value.hint == "try another"


@variants.only_with_all("a lost worker is replaced above; test_local.py tests what all engines share")
def test_a_shard_that_kills_every_actor_is_named_and_what_actors_took_is_counted(
    cluster: object, six: Path, tmp_path: Path
) -> None:
    with pytest.raises(CapivaraError, match="3 workers were lost at 00002"):
        fill([Step(work, WorkOptions(kill="00025"))], six, tmp_path / "dead", engine="ray", workers=1)
    own = time.process_time()
    costs, settings = Costs(), Settings(out=str(tmp_path / "counted"), engine="ray", workers=2)
    with costs.meter("run", now=True) as meter:
        engine.run([Step(work, WorkOptions())], [str(six)], settings, None, costs)
        cost = meter.footprint()
    assert cost.cpu_seconds > time.process_time() - own + 0.3  # what the actors took, which are killed


def test_without_ray_the_message_says_how_to_get_it(six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CapivaraError, match="Ray is not installed") as raised:
        fill([UNIQUE], six, tmp_path / "out", engine="ray")
    assert raised.value.hint == "pip install 'capivara[ray]'"


def test_engines_are_plugins(six: Path, tmp_path: Path) -> None:
    assert registry.names("engines") == ["local", "ray"]
    with pytest.raises(CapivaraError, match="did you mean ray"):
        fill([UNIQUE], six, tmp_path / "out", engine="rya")


@pytest.mark.parametrize(
    ("resources", "settings", "expected"),
    [
        ({"CPU": 4}, Settings(workers=3), (3, 0)),
        ({"CPU": 4, "GPU": 2}, Settings(), (2, 1.0)),
        ({"CPU": 4, "GPU": 2}, Settings(gpus_per_worker=0.5), (4, 0.5)),
        ({"CPU": 4, "GPU": 2}, Settings(gpus_per_worker=0.5, workers=3), (3, 0.5)),
        ({"CPU": 4, "GPU": 2}, Settings(device="cpu", workers=3), (3, 0)),
        ({"CPU": 4, "GPU": 2}, Settings(gpus_per_worker=3), "the Ray cluster has 2 GPUs"),
        ({"CPU": 4}, Settings(workers=5), "the Ray cluster has 4 cores"),
    ],
)
def test_as_many_actors_as_there_is_room_for(
    resources: dict[str, float], settings: Settings, expected: tuple[int, float] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(CapivaraError, match=expected):
            ray_engine._size(resources, settings)
    else:
        assert ray_engine._size(resources, settings) == expected
