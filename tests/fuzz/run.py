"""Coverage-guided fuzzing with atheris (libFuzzer): python tests/fuzz/run.py tar|json FOLDER [libFuzzer options].

FOLDER grows by what reaches new code, beginning with tests/fuzz/corpus. ``pip install atheris`` first; it is not among
the dependencies. The laws are those of targets.py. For half an hour::

    python tests/fuzz/run.py tar found -max_total_time=1800 -timeout=60 -rss_limit_mb=600 -max_len=8192
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
with atheris.instrument_imports(include=["capivara_cli", "json"]):
    from fuzz import targets


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's mutation; three in four tars get correct checksums, else all would be refused at the first one."""
    changed = atheris.Mutate(data, max_size)
    return targets.mended(changed)[:max_size] if random.Random(seed).random() < 0.75 else changed


def main() -> None:
    name, found, *options = sys.argv[1:]
    Path(found).mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], found, str(HERE / "corpus" / name), f"-dict={HERE / name}.dict", *options]
    if name == "tar":
        atheris.Setup(arguments, targets.TARGETS[name], custom_mutator=mutated)
    else:
        atheris.Setup(arguments, targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
