"""Compare our speed with that of others, and write docs/benchmarks.md.

python -m benchmarks.peers                  # list the comparisons
python -m benchmarks.peers stream filter    # measure these, and store the results
python -m benchmarks.peers all --write      # measure all, and make the page
python -m benchmarks.peers stream --small   # try one out; nothing is stored
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.peers import page
from benchmarks.peers.photos import FOLDER as PHOTOS
from benchmarks.peers.results import ROOT, Setup, comparison, keep, measured


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*page.ORDER, "all", []], help="or: all")
    parser.add_argument("--write", action="store_true", help="make docs/benchmarks.md of all results")
    parser.add_argument("--small", action="store_true", help="as little as can be run; the results are only shown")
    parser.add_argument(
        "--photos", type=Path, default=PHOTOS, help="a folder with captions.csv (image, caption, lang) and its images"
    )
    given = parser.parse_args()
    for name in page.ORDER if "all" in given.names else given.names:
        began = time.monotonic()
        result = measured(name, Setup(given.small, given.photos if given.photos.is_dir() else None))
        said = "not kept" if given.small else f"kept in {keep(result).relative_to(ROOT)}"
        print(f"{page.section(result)}\n{said}; {time.monotonic() - began:.0f} s\n", flush=True)
    if given.write:
        print(f"wrote {page.write()}")
    elif not given.names:
        print("\n".join(f"{name:18} {comparison(name).TITLE}" for name in page.ORDER))


if __name__ == "__main__":
    main()
