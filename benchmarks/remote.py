"""Shards from a web server: what reading ahead saves, and how fast bytes come, with one run's memory.

python benchmarks/remote.py [MEGABYTES]   prints seconds, as a Markdown table; the server is a process on this machine.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from capivara_cli.shards.archive import ShardReader, ShardWriter, open_shard
from capivara_cli.shards.sample import Sample

PIECE = 1 << 18
WORK_SECONDS = 0.001
"""What a stage does with each sample of 50 KB: about as long as the slow server needs to send it."""


class Handler(BaseHTTPRequestHandler):
    """``/FAST/path`` as fast as it goes, ``/SLOW/path`` at 100 MB/s at most."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        _, speed, path = self.path.split("/", 2)
        size = Path("/" + path).stat().st_size
        if probing := self.headers.get("Range") == "bytes=0-0":
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-0/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", "1" if probing else str(size))
        self.end_headers()
        with open("/" + path, "rb") as file:
            while piece := file.read(1 if probing else PIECE):
                self.wfile.write(piece)
                if probing:
                    return
                if speed == "SLOW":
                    time.sleep(PIECE / 100e6)


def make(path: Path, megabytes: int) -> None:
    with open(path, "wb") as out:
        writer = ShardWriter(out, [])
        for number in range(megabytes * 20):
            writer.write(Sample(f"{number:08d}", {"jpg": bytes(50_000)}))
        writer.finish()


def work() -> None:
    until = time.perf_counter() + WORK_SECONDS
    while time.perf_counter() < until:
        pass


def ours(url: str) -> None:
    with open_shard(url) as reader:
        for _ in reader:
            work()


def downloaded_first(url: str) -> None:
    """The same work, started after the download."""
    with httpx.stream("GET", url) as answer, tempfile.TemporaryFile() as file:
        for block in answer.iter_raw():
            file.write(block)
        file.seek(0)
        for _ in ShardReader(file, url):
            work()


def bytes_only(url: str) -> None:
    with open_shard(url) as reader:
        for _ in reader:
            pass


def seconds(read: Callable[[str], None], url: str) -> float:
    started = time.perf_counter()
    read(url)
    return time.perf_counter() - started


def measured(megabytes: int) -> dict[str, float]:
    """Seconds of each way of reading."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "00000.tar"
        make(path, megabytes)
        command = [sys.executable, __file__, "serve"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            try:
                slow, fast = f"{address}/SLOW{path}", f"{address}/FAST{path}"
                return {
                    "a stage on a slow server, downloaded first": seconds(downloaded_first, slow),
                    "the same, read ahead": seconds(ours, slow),
                    "bytes only, fast server": seconds(bytes_only, fast),
                    "bytes only, local file": seconds(bytes_only, str(path)),
                }
            finally:
                server.terminate()


def main(megabytes: int) -> None:
    rows = measured(megabytes)
    print(f"| {megabytes} MB | seconds | MB/s |\n|---|---|---|")
    for name, taken in rows.items():
        print(f"| {name} | {taken:.2f} | {megabytes / taken:,.0f} |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main(int(sys.argv[1]) if sys.argv[1:] else 300)
