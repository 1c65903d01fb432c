"""The command line of the mutation check. See the docstring of the package."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

from tools.mutate.mutants import mutants

ROOT = Path(__file__).parents[2]
COPIED = ("capivara_cli", "tests", "docs", "benchmarks", "tools", "pyproject.toml", "README.md", "CHANGELOG.md")
PACKAGE = "capivara_cli"


@dataclass(frozen=True)
class Fault:
    """A change of one file: ``old``, which occurs once in it, becomes ``new``. ``tests`` are run against it.

    ``why`` says why no test can notice the fault, where that is known: it then changes nothing that anybody sees.
    """

    file: str
    old: str
    new: str
    note: str = ""
    tests: tuple[str, ...] = ()
    why: str = ""


def main(argv: list[str] | None = None) -> int:
    """Print each fault with the test that noticed it. Returns 1 if a fault without a ``why`` was not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutate", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a file of the package; its mutants are random")
    parser.add_argument("--faults", type=Path, help="plant the faults of this file of JSON lines")
    parser.add_argument("--only", default="", metavar="TEXT", help="only faults of files whose path has this text")
    parser.add_argument("--count", type=int, default=20, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", nargs="*", default=[], help="the tests to run; default: those that mirror the file")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for the tests of one fault")
    asked = parser.parse_args(argv)
    faults = _listed(asked.faults) if asked.faults else []
    for module in asked.modules:
        faults += random_faults(module, asked.count, asked.seed, tuple(asked.tests))
    faults = [fault for fault in faults if asked.only in fault.file]
    if not faults:
        parser.error("name a module or --faults")
    for fault in faults:
        _check_fits(fault, ROOT)
    missed = [fault for fault, noticed in _checked(faults, asked.jobs, asked.timeout) if not noticed]
    unexplained = [fault for fault in missed if not fault.why]
    sys.stdout.write(f"{len(faults) - len(missed)} of {len(faults)} faults noticed; "
                     f"{len(unexplained)} of the others without an explanation\n")  # fmt: skip
    return 1 if unexplained else 0


def random_faults(module: str, count: int, seed: int, tests: tuple[str, ...] = ()) -> list[Fault]:
    """``count`` different random mutants of a module, as changes of whole lines."""
    text = (ROOT / module).read_text("utf-8")
    every = mutants(text)
    chosen = random.Random(f"{seed} {module}").sample(every, min(count, len(every)))
    faults = []
    for mutant in sorted(chosen, key=lambda each: each.start):
        old, new = _changed_lines(text, mutant.applied(text))
        faults.append(Fault(module, old, new, f"line {mutant.line}", tests))
    return faults


def _changed_lines(before: str, after: str) -> tuple[str, str]:
    """The lines of both texts from the first difference to the last, with lines before them until they occur once."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    first = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    same = 0
    while same < min(len(old), len(new)) - first and old[-1 - same] == new[-1 - same]:
        same += 1
    while first and before.count("".join(old[first : len(old) - same])) > 1:
        first -= 1
    return "".join(old[first : len(old) - same]), "".join(new[first : len(new) - same])


def _listed(path: Path) -> list[Fault]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [Fault(**{**line, "tests": tuple(line.get("tests", ()))}) for line in lines]


def own_tests(module: str) -> list[str]:
    """The tests that mirror a module: those of its file and its folder, or of the nearest package that has any."""
    inside = Path(module).relative_to(PACKAGE)
    name = inside.stem.lstrip("_")
    folder = ROOT / "tests" / inside.parent
    near = [folder / f"test_{name}.py", folder / name]
    found = [path for path in near if path.exists()]
    while not found:
        beside = folder.parent / f"test_{folder.name}.py"
        found = [path for path in (beside, folder) if path.exists()]
        folder = folder.parent
    return [str(path.relative_to(ROOT)) for path in found]


def _checked(faults: list[Fault], jobs: int, timeout: float) -> list[tuple[Fault, str]]:
    """Each fault with the name of a test that noticed it, or an empty text."""
    copies: SimpleQueue[Path] = SimpleQueue()
    done: list[tuple[Fault, str]] = []
    with tempfile.TemporaryDirectory(prefix="capivara-mutate-") as place:
        for number in range(jobs):
            copies.put(_copy(Path(place) / str(number)))

        def check(fault: Fault) -> None:
            copy, started = copies.get(), time.monotonic()
            try:
                noticed = _noticed(fault, copy, timeout)
            finally:
                copies.put(copy)
            done.append((fault, noticed))
            result = {**asdict(fault), "noticed": noticed, "seconds": round(time.monotonic() - started, 1)}
            sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
            sys.stdout.flush()

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(check, faults))
    return done


def _copy(place: Path) -> Path:
    place.mkdir()
    for name in COPIED:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, place / name, ignore=ignored) if source.is_dir() else shutil.copy2(source, place / name)
    return place


def _check_fits(fault: Fault, root: Path) -> None:
    """Raise ``SystemExit`` for a fault that does not fit the present text of its file."""
    count = (root / fault.file).read_text("utf-8").count(fault.old)
    if count != 1:
        raise SystemExit(f"{fault.file}: {fault.old!r} occurs {count} times: mend the list of faults")


def _noticed(fault: Fault, copy: Path, timeout: float) -> str:
    path = copy / fault.file
    before = path.read_text("utf-8")
    path.write_text(before.replace(fault.old, fault.new), "utf-8")
    words = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
    tests = fault.tests or own_tests(fault.file)
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run([*words, *tests], cwd=copy, env=environment, capture_output=True, text=True,
                              timeout=timeout)  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no end after {timeout:.0f} s"
    finally:
        path.write_text(before, "utf-8")
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].partition(" - ")[0] if lines else f"exit {done.returncode}: {done.stdout[-200:]}"


if __name__ == "__main__":
    raise SystemExit(main())
