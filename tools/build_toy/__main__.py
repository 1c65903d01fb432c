"""The command line of the toy model builder. See the docstring of the package."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

PARTS = ("clip", "captioner", "translators", "rewriter")


def main(argv: list[str] | None = None) -> int:
    """Build the named parts in OUT, and print the seconds of each to stderr."""
    parser = argparse.ArgumentParser(prog="python -m tools.build_toy", description="Rebuild the toy models.")
    parser.add_argument("out", type=Path, help="folder for the models, with one subfolder per part")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    for part in options.parts or PARTS:
        started = time.perf_counter()
        importlib.import_module(f"tools.build_toy.{part}").build(options.out, options.seed)
        sys.stderr.write(f"{part}: {time.perf_counter() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
