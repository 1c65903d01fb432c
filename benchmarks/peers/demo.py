"""The whole method on the toy world, from the command to the prompt."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from benchmarks.peers.apart import environment
from benchmarks.peers.results import Found, Setup

TITLE = "The whole method on the toy world"
PACKAGES = ("torch", "transformers", "ctranslate2")
COLUMNS = {"runs": {"command": ("command", ""), "seconds": ("seconds", ",.0f")}}
TEXT = """
Scenes packed, captioned twice, translated, filtered and de-duplicated, three runs trained, and evaluated in four
languages. The recalls are in [toy-world.md](toy-world.md).

{runs}
"""


def measure(setup: Setup) -> Found:
    line = ["demo", "--lang", "pt"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "capivara_cli", *line], cwd=folder, check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        seconds = time.monotonic() - began
    return Found({"runs": [{"command": f"`capivara {' '.join(line)}`", "seconds": seconds}]}, {})
