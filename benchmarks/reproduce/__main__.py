"""python -m benchmarks.reproduce        every cell, three seeds; run it again after a kill, and it resumes
python -m benchmarks.reproduce --write        docs/reproduction.md from stored results and cells that were run since"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.reproduce import work
from capivara_cli.storage.files import replace_text

RESULTS = Path(__file__).with_name("results.json")
KEPT_RESULTS = RESULTS.with_name("kept.json")
PAGE = Path(__file__).parents[2] / "docs" / "reproduction.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproduce", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/reproduction"), help="folder that keeps all that is done"
    )
    parser.add_argument("--seeds", type=int, default=3, choices=range(2, 6))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--reduced", action="store_true", help="one seed and the cells that show the main directions")
    parser.add_argument(
        "--kept", action="store_true", help="only the study of what captions are judged by and how many are kept"
    )
    parser.add_argument("--only", nargs="+", metavar="CELL", help="cells by name, or by what their names begin with")
    parser.add_argument("--write", action="store_true", help="only write the results and the page from what was kept")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    plan = work.Plan(arguments.out.absolute(), arguments.seeds, arguments.processes, arguments.reduced, arguments.kept)
    if not arguments.write and not work.do(plan, arguments.only):
        return 1
    if arguments.only or arguments.reduced:
        sys.stdout.write(work.listed(plan))
        return 0
    from benchmarks.reproduce import page

    results = KEPT_RESULTS if arguments.kept else RESULTS
    if (arguments.out / "seed0").is_dir():
        replace_text(results, work.collected(plan, results))
    replace_text(PAGE, page.page(RESULTS, KEPT_RESULTS))
    sys.stderr.write(f"{results} and {PAGE} are written\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
