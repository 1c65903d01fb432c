"""What happens between processes: closed pipes, broken upstreams, full disks, signals. Each is a script of bash."""

from __future__ import annotations

from pathlib import Path

from reliability.case import Case
from support.made import shard_bytes, toy_like

from capivara_cli.shards.sample import Sample


def many(folder: Path) -> None:
    """``shards/``: one shard of 300 samples."""
    (folder / "shards").mkdir()
    (folder / "shards" / "00000.tar").write_bytes(shard_bytes(toy_like(300)))


def more_than_a_pipe_holds(folder: Path) -> None:
    """``shards/``: one shard of several megabytes, so that the writer waits for the reader, however slow that is."""
    (folder / "shards").mkdir()
    samples = [Sample(each.key, {**each.members, "bin": bytes(100_000)}) for each in toy_like(40)]
    (folder / "shards" / "00000.tar").write_bytes(shard_bytes(samples))


_WAITING = "mkfifo pipe; exec 3<> pipe; head -c 3000 shards/00000.tar >&3; set -m\n"
_BEGUN = "while [ ! -e out/manifest.jsonl ]; do sleep 0.02; done; "

PIPES = [
    Case("the reader closes the pipe: no message", "capivara split shards | head -c 600 > head; exit ${PIPESTATUS[0]}",
         more_than_a_pipe_holds, "^$", 141),
    Case("the previous command stops half-way, without pipefail",
         "head -c 100000 shards/00000.tar | capivara dedupe --out out", many, r"standard input: cut off at byte 100000"),
    Case("the previous command fails at once, without pipefail",
         "capivara split nowhere | capivara dedupe --out out", many,
         "nowhere: no such file or folder(.*\n)*capivara: standard input: (cut off|empty)"),
    Case("the disk is full: standard output", "capivara split shards > /dev/full", many,
         "No space left on device\n  free some space and run the same command again"),
    Case("the disk is full: help", "capivara --help > /dev/full", many,
         "standard output cannot be written: No space left on device"),
    Case("standard output is closed", "capivara split shards >&-", many,
         "standard output is closed\n  name a folder for the result: --out DIR", 2),
    Case("standard output is closed, and a folder is named", "capivara split shards --fraction 0 --out out >&-", many,
         "read 300, wrote 300", 0),
    Case("everything is closed, and a folder is named", "capivara split shards --fraction 0 --out out <&- >&- 2>&-", many,
         "^$", 0),
    Case("a file grows beyond what is allowed, and the same command again without the limit",
         "trap '' XFSZ; (ulimit -f 100; capivara split shards --fraction 0 --out out); ls out; "
         "capivara split shards --fraction 0 --out out", many, "File too large(.*\n)*.*read 300, wrote 300", 0),
    Case("Ctrl-C", _WAITING + "capivara split pipe --out out & " + _BEGUN + "kill -INT $!; wait $!", many,
         r"interrupted(?!\n  )", 130),
    Case("terminated by a scheduler", _WAITING + "capivara split pipe --out out & " + _BEGUN + "kill -TERM $!; wait $!",
         many, r"terminated(?!\n  )", 143),
]  # fmt: skip
