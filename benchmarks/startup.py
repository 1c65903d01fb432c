"""How long the program takes to say something: processor seconds of --help, least and median of twenty.

python benchmarks/startup.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys


def cpu_seconds(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "capivara_cli", *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    print("| command | least CPU s | median CPU s |\n|---|---|---|")
    for words in (["--help"], ["caption", "--help"], ["train", "--help"]):
        times = [cpu_seconds(*words) for _ in range(20)]
        print(f"| capivara {' '.join(words)} | {min(times):.3f} | {statistics.median(times):.3f} |")


if __name__ == "__main__":
    main()
