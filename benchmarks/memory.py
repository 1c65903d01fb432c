"""Peak memory of stages over a stream of 1,000 and of 1,000,000 samples, generated while they are read.

python benchmarks/memory.py [SAMPLES …]   a Markdown table: peak resident MB of each stage, and how much it grew

Without codecarbon: it is loaded after ten seconds of work, whatever the data, and takes 100 MB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.sample import Caption, Sample, encode_json

STAGES = {
    "split": ["split", "--fraction", "0.1"],
    "dedupe": ["dedupe"],
    "translate, identity": ["translate", "--translator", "identity", "--lang", "pt", "--no-cache"],
    "split to a folder": ["split", "--fraction", "0.1", "--out", "OUT"],
}
PROGRAM = """
import sys
from capivara_cli.cli.app import main
from capivara_cli.costs import codecarbon_counter as tracker
tracker.AFTER = 1e9
main(sys.argv[1:])
"""


def generate(count: int) -> None:
    """Samples of about 2.5 KB with two captions to standard output; no two have the same captions."""
    image = os.urandom(600)
    with open(1, "wb", buffering=1 << 20, closefd=False) as out:
        writer = ShardWriter(out, [])
        for number in range(count):
            texts = (f"a dog number {number} on a beach", f"{number} people under a red umbrella")
            document = {"id": number, "captions": [Caption(text, "en", "alt").to_json() for text in texts]}
            writer.write(Sample(f"{number:09d}", {"jpg": image, "json": encode_json(document)}))
        writer.finish()


def peak(words: list[str], count: int) -> float:
    """Peak resident MB of one stage that reads ``count`` samples through a pipe."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "wb") as nowhere:
        words = [word.replace("OUT", str(Path(folder, "out"))) for word in words]
        maker = subprocess.Popen([sys.executable, __file__, "generate", str(count)], stdout=subprocess.PIPE)
        command = [sys.executable, "-c", PROGRAM, *words, "--quiet", "--no-energy"]
        stage = subprocess.Popen(command, stdin=maker.stdout, stdout=nowhere)
        assert maker.stdout is not None
        maker.stdout.close()
        _, status, usage = os.wait4(stage.pid, 0)
        assert status == 0 and maker.wait() == 0, f"{words}: failed"
        return usage.ru_maxrss / 1000


def main() -> None:
    if sys.argv[1:2] == ["generate"]:
        generate(int(sys.argv[2]))
        return
    counts = [int(word) for word in sys.argv[1:]] or [1_000, 1_000_000]
    print(f"| peak MB | {' | '.join(f'{count:,} samples' for count in counts)} | growth |")
    print("|---" * (len(counts) + 2) + "|")
    for name, words in STAGES.items():
        peaks = [peak(words, count) for count in counts]
        cells = " | ".join(f"{value:.0f}" for value in peaks)
        print(f"| {name} | {cells} | {peaks[-1] - peaks[0]:+.0f} |", flush=True)


if __name__ == "__main__":
    main()
