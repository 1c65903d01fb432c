"""Make the pictures in docs/pictures from a real demo: uv run --with pyte python docs/make_pictures.py [FOLDER]

It runs ``capivara demo`` in a terminal of its own, writes the pages about it, and photographs them with chromium. All
images are drawn scenes of the toy world. It takes some minutes. Look at the pictures before you commit them. FOLDER
keeps the runs and the pages; if the demo is in it already, it does not run again.
"""

from __future__ import annotations

import codecs
import io
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import console

if TYPE_CHECKING:
    from rich.text import Text

PICTURES = Path(__file__).with_name("pictures")
CAPIVARA = [sys.executable, "-m", "capivara_cli"]
COLUMNS, LINES = 100, 400
MOST_BYTES = 150_000  # of one picture
HEX = re.compile("[0-9a-f]{6}")
DEMO = ["demo", "--lang", "pt", "--scenes", "300", "--seeds", "2"]
RUNS = ["runs/demo-pt-seed0", "runs/demo-pt-seed1"]
DATA = "runs/demo-pt-data/train"
QUERY = "um coração vermelho grande à esquerda de uma estrela preta pequena"
PAGES = {
    "report": (["report", *RUNS, "--out", "report.html"], (1280, 580)),
    "samples": (["show", DATA, "--n", "6", "--html", "samples.html"], (1280, 900)),
    "search": (["search", QUERY, DATA, "--model", RUNS[0], "--k", "12", "--html", "search.html"], (1280, 735)),
}
"""The command that writes each page, and the size of its picture in pixels."""


def in_terminal(words: Sequence[str], folder: Path) -> bytes:
    """Run a command of capivara in a terminal of ``COLUMNS`` columns; return all that it wrote there."""
    console.say(f"$ capivara {shlex.join(words)}")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ.update(COLUMNS=str(COLUMNS), LINES=str(LINES), TERM="xterm-256color")
        os.execv(CAPIVARA[0], [*CAPIVARA, *words])
    written = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # how a terminal says on Linux that its last writer has gone
            piece = b""
        if not piece:
            break
        written += piece
    _, status = os.waitpid(process, 0)
    if status:
        sys.exit(f"{written.decode(errors='replace')}\ncapivara {words[0]} failed")
    return written


def screen(written: bytes) -> Text:
    """What a terminal shows at the end, with colours: live lines are there in their last state only."""
    import pyte
    from rich.style import Style
    from rich.text import Text

    shown: Any = pyte.Screen(COLUMNS, LINES)
    pyte.Stream(shown).feed(codecs.decode(written, "utf-8"))
    rows = []
    for number, _ in enumerate(shown.display):
        cells = [shown.buffer[number][column] for column in range(COLUMNS)]
        row = Text()
        for (color, bold), run in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
            known = None if color == "default" else f"#{color}" if HEX.fullmatch(color) else _NAMES.get(color, color)
            row.append("".join(cell.data for cell in run), Style(color=known, bold=bold))
        row.rstrip()
        rows.append(row)
    while rows and not rows[-1].plain:
        rows.pop()
    return Text("\n").join(rows)


def excerpt(text: Text) -> Text:
    """The beginning and the results of a demo, with a mark where lines are left out."""
    from rich.text import Text

    rows = list(text.split("\n"))

    def place(start: str) -> int:
        return next(number for number, row in enumerate(rows) if row.plain.startswith(start))

    parts = [rows[: place("$ capivara pack")], rows[place("$ capivara eval") : place("cost of the whole")]]
    parts.append(rows[place("next:") :])
    return Text("\n").join(row for part in parts for row in (*part, Text("⋮")))[:-2]


_NAMES = {"brown": "yellow", "brightbrown": "bright_yellow"} | {
    f"bright{name}": f"bright_{name}" for name in ("black", "red", "green", "blue", "magenta", "cyan", "white")
}
"""The colours of pyte that rich calls differently."""


def draw_terminal(command: str, text: Text, target: Path) -> None:
    """Write an SVG of a terminal with a command and what it printed."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {command}", style="bold"))
    console.print(text)
    drawn = console.export_svg(title="capivara demo", unique_id="demo")
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), "utf-8")  # fonts from elsewhere


def photograph(page: Path, size: tuple[int, int], target: Path) -> None:
    """Write a PNG of the upper part of a page."""
    from PIL import Image

    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("chromium is not installed (Debian: apt-get install chromium)")
    raw = page.with_suffix(".png")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={page.parent}/b"]
    flags += [f"--window-size={size[0]},{size[1] + 200}", f"--screenshot={raw}"]  # headless Chromium shows fewer lines
    subprocess.run([browser, *flags, page.resolve().as_uri()], check=True, capture_output=True)
    with Image.open(raw) as image:
        picture = image.convert("RGB").crop((0, 0, *size))
    picture = picture.quantize(256, kmeans=5, dither=Image.Dither.NONE)
    picture.save(target, optimize=True)


def make(folder: Path) -> None:
    """Make all pictures from runs and pages in a folder."""
    PICTURES.mkdir(exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["CAPIVARA_CACHE"] = str(folder.resolve() / "cache")
    if not (folder / RUNS[0] / "eval.json").exists():
        written = in_terminal(DEMO, folder)
        (folder / "demo.txt").write_bytes(written)
    shown = screen((folder / "demo.txt").read_bytes())
    draw_terminal(" ".join(["capivara", *DEMO]), excerpt(shown), PICTURES / "demo.svg")
    for page, (words, size) in PAGES.items():
        in_terminal(words, folder)
        photograph(folder / f"{page}.html", size, PICTURES / f"{page}.png")
    for picture in sorted(PICTURES.iterdir()):
        count = picture.stat().st_size
        console.say(f"{picture.name}: {count:,} bytes" + (", too large" if count > MOST_BYTES else ""))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            make(Path(name))
