"""The faults that the mutation check plants, and that it restores what it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutate import __main__ as mutate
from tools.mutate.mutants import mutants


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("a < b", {"(a <= b)"}),
        ("a and b", {"(a or b)", "a", "b"}),
        ("x = not a", {"x = a"}),
        ("x = n - 1", {"x = (n + 1)", "x = n - 2"}),
        ("x = True", {"x = False"}),
        ("f(a, key=b)", {"pass", "f(a)"}),
        ("x = [a for a in b if a]", {"x = ([a for a in b])"}),
        ("x = (a, b)", {"x = ((b,))", "x = ((a,))"}),
        ("def f():\n    return a", {"def f():\n    return None"}),
        ("x: Literal[1] = a", set()),
        ("raise E(1 + 1)", set()),
    ],
)
def test_the_mutants_of_a_text(text: str, changed: set[str]) -> None:
    assert {each.applied(text) for each in mutants(text)} == changed


def test_places_are_those_of_bytes() -> None:
    text = 'x = "é" if a < b else "ó"'
    assert 'x = "é" if (a <= b) else "ó"' in {each.applied(text) for each in mutants(text)}


def test_random_faults_can_be_planted_and_are_the_same_for_a_seed() -> None:
    module = "capivara_cli/stages/split.py"
    text = (mutate.ROOT / module).read_text("utf-8")
    faults = mutate.random_faults(module, 10, 3)
    assert len(faults) == 10
    assert all(text.count(fault.old) == 1 and fault.old != fault.new for fault in faults)
    assert faults == mutate.random_faults(module, 10, 3) != mutate.random_faults(module, 10, 4)


@pytest.mark.parametrize(("body", "noticed"), [("assert False", True), ("pass", False)])
def test_a_fault_is_noticed_by_a_failing_test_and_taken_out_again(tmp_path: Path, body: str, noticed: bool) -> None:
    (tmp_path / "module.py").write_text("LIMIT = 1\n")
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    fault = mutate.Fault("module.py", "LIMIT = 1", "LIMIT = 2", tests=("test_it.py",))
    assert bool(mutate._noticed(fault, tmp_path, 60)) is noticed
    assert (tmp_path / "module.py").read_text() == "LIMIT = 1\n"


def test_a_fault_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("a = 1\nb = 1\n")
    with pytest.raises(SystemExit, match=r"module\.py: '1' occurs 2 times"):
        mutate._check_fits(mutate.Fault("module.py", "1", "2"), tmp_path)


def test_the_tests_of_a_module() -> None:
    assert mutate.own_tests("capivara_cli/storage/claims.py") == ["tests/storage/test_claims.py"]
    assert mutate.own_tests("capivara_cli/models/adapters/methods.py")[0].startswith("tests/models/adapters/")
