"""Any field of a run's files gone or of another type: a clear error, or the result of an intact run, never a bug."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reliability.made_bad import a_run
from reliability.running import run
from support import variants
from support.altered import MISSING, altered, places

FILES = ("run.json", "eval.json", "metrics.jsonl", "footprint.json", "adapter/adapter_config.json", "adapter/base.json")
COMMANDS = {
    "train": "train shards --lang pt --model toy --steps 2 --batch-size 4 --warmup 0 --name pt --quiet --no-energy",
    "eval": "eval shards runs/pt --model toy --quiet --no-energy",
    "report": "report runs/pt --out page.html",
    "export": "export runs/pt --format peft --out exported",
    "status": "status runs/pt",
    "list": "list recipes",
}
OTHERS: dict[type, tuple[Any, ...]] = {
    str: (3, None, []), int: ("x", None, {}), float: ("x", [], None), bool: ("yes", 7), list: ({"a": 1}, "x", None),
    dict: ([1], "x", None), type(None): ("x", 3),
}  # fmt: skip
"""Values of other types, by the type of the value that they replace."""


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and what each command makes of it."""
    folder = tmp_path_factory.mktemp("intact")
    a_run(folder)
    for line in COMMANDS.values():
        code = run(shlex.split(line), folder).code
        assert code == (1 if line.startswith("status") else 0)  # a run is no folder of shards
    return folder


def made(folder: Path) -> dict[str, str]:
    """The results of the commands: the digests of all files without times."""
    kept = [folder / "page.html", *(folder / "exported").rglob("*"), *(folder / "runs" / "pt" / "adapter").rglob("*")]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in kept if path.is_file()}
    rows = folder / "runs" / "pt" / "eval.json"
    return {name: hashlib.sha256(data).hexdigest() for name, data in {**found, "eval": rows.read_bytes()}.items()}


@settings(
    max_examples=variants.number(15, 60), deadline=None, derandomize=True, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_any_altered_field_is_an_error_or_changes_nothing(
    data: st.DataObject, intact: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = data.draw(st.sampled_from(FILES))
    folder = tmp_path_factory.mktemp("altered")
    shutil.copytree(intact, folder, dirs_exist_ok=True)
    path = folder / "runs" / "pt" / name
    lines = path.read_text("utf-8").splitlines() if name.endswith("l") else [path.read_text("utf-8")]
    number = data.draw(st.integers(0, len(lines) - 1))
    document = json.loads(lines[number])
    at = data.draw(st.sampled_from(sorted(places(document), key=str)))
    value = document
    for key in at:
        value = value[key]
    other = data.draw(st.sampled_from(OTHERS[type(value)]))
    lines[number] = json.dumps(
        altered(document, at, MISSING if data.draw(st.booleans()) else other), ensure_ascii=False
    )
    path.write_text("\n".join(lines) + "\n", "utf-8")
    command = data.draw(st.sampled_from(sorted(COMMANDS)))
    for old in (folder / "page.html", folder / "exported"):
        if old.name.startswith({"report": "page", "export": "exported"}.get(command, "-")):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    ran = run(shlex.split(COMMANDS[command]), folder)
    shown = f"{command} with {name} altered at {at}: {ran.code}\n{ran.said}"
    assert ran.code in (0, 1, 2), shown
    if ran.code == 0:
        expected, found = made(intact), made(folder)
        altered_file = "eval" if name == "eval.json" else f"runs/pt/{name}"
        assert {**found, altered_file: expected.get(altered_file)} == {
            **expected, altered_file: expected.get(altered_file)
        }, shown  # fmt: skip
    elif command not in ("status", "list"):
        assert Path(name).name in ran.said, shown
    shutil.rmtree(folder)
