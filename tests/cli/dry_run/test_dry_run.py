"""`--dry-run` of stages and plans: counts that go on from step to step, where rates come from, nothing written."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import web
from support.made import toy_like
from support.rehearsing import column, estimated, performed, tree

from capivara_cli.cli.dry_run import census, plans, rehearsal, sources
from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.perform import perform
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models.hub import MissingFiles
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.stages.pack import pack

PLAN = (
    "caption --captioner toy --n 3 | translate --translator toy --lang pt,hi | filter --model toy --top-k 2 | "
    "split --fraction 0.1"
)


def answer(step: int, before: list[Any], after: list[Any], **given: Any) -> dict[str, Any]:
    """What a trial says of a step: [samples, bytes, [[language, made by, count], …]] before and after it."""
    keys = ("samples", "bytes", "captions")
    means = {"before": dict(zip(keys, before, strict=True)), "after": dict(zip(keys, after, strict=True))}
    return {"step": step, "samples": before[0], "start": 2.0, "each": 0.5, "watts": 36.0, "peak": 10**9} | given | means


def test_what_was_measured_goes_on_from_step_to_step(shards, tried):
    shards(toy_like(60), toy_like(40, 60))
    tried += [
        answer(0, [32, 32_000, [["en", "", 64]]], [32, 64_000, [["en", "", 64], ["en", "captioner", 96]]]),
        answer(1, [32, 64_000, []], [24, 48_000, [["en", "", 24], ["en", "captioner", 48]]], start=1.0, each=0.25),
        answer(2, [24, 48_000, []], [24, 48_000, []], start=0.0, each=0.001),
    ]
    plan = "caption --captioner toy --n 3 | filter --model toy --top-k 3 | split --fraction 0.1"
    summary = estimated(f"run '{plan}' shards --out done")
    assert column(summary, "samples") == [100, 100, 75]
    assert column(summary, "captions") == [500, 225, 202]  # 5 each, 3 of three quarters, nine tenths of those
    assert column(summary, "seconds") == [52.0, 26.0, 0.1]
    assert column(summary, "samples_per_second") == [2.0, 4.0, 1000.0]
    assert summary["stages"][0]["kwh"] == pytest.approx(52 * 36 / 3.6e6)
    assert summary["total"]["seconds"] == pytest.approx(78.1, abs=0.06)
    assert summary["total"]["memory_bytes"] == 10**9
    size = census.census_of([str(path) for path in sorted(Path("shards").glob("*.tar"))]).sample_bytes
    assert summary["total"]["disk_bytes"] == pytest.approx(67.5 * (size + 1000), abs=1)
    assert (summary["unknown"], summary["remarks"]) == ([], [])
    assert column(summary, "basis")[0] == "on 32 of your samples, 2.0 s to start"


def test_what_could_not_be_tried_is_not_known(shards, untried):
    shards(toy_like(12), toy_like(8, 12))
    summary = estimated(f"run '{PLAN}' shards --out done")
    assert column(summary, "stage") == ["caption", "translate", "filter", "split"]
    assert column(summary, "samples") == [20, None, None, None]
    assert set(column(summary, "seconds")) == set(column(summary, "captions")) == {None}
    assert set(column(summary, "source")) == {"unknown"}
    assert set(summary["total"].values()) == {None}
    assert summary["unknown"] == ["caption", "translate", "filter", "split"]
    assert summary["remarks"] == ["caption | translate | filter | split: could not be tried: not in this test"]
    assert untried[0]["steps"][0]["options"]["n"] == 3
    assert untried[0]["steps"][1]["options"]["cache"] is False


def test_a_split_needs_no_trial_to_be_counted(shards, untried):
    shards(toy_like(20))
    (row,) = estimated("split shards --part heldout --fraction 0.25 --out out")["stages"]
    assert (row["samples"], row["seconds"]) == (20, None)
    summary = estimated("run 'split --fraction 0.25 | dedupe' shards --out out")
    assert column(summary, "samples") == [20, 15]


def test_nothing_is_written(shards, untried, here):
    shards(toy_like(4))
    before = tree(here)
    for line in (
        f"run '{PLAN}' shards --out done",
        "dedupe shards",
        "pack toy:20 --out packed",
        "rewrite shards --rewriter eda",
    ):
        estimated(f"{line} --ledger ledger.jsonl --rejects rejected")
    assert tree(here) == before


def test_no_tar_goes_to_the_stream(shards, untried):
    shards(toy_like(4))
    out = io.BytesIO()
    summary = perform(parse_command(["split", "shards", "--dry-run"], Settings(device="cpu")), data=out)
    assert out.getvalue() == b""
    assert summary["total"]["disk_bytes"] == 0


def test_the_summary_and_the_table(shards, untried, capsys):
    shards(toy_like(4))
    summary = estimated("translate shards --translator toy --lang hi --summary said.json")
    assert json.loads(Path("said.json").read_bytes()) == summary
    err = capsys.readouterr().err
    assert "shards: 4 samples in 1 shard, " in err
    assert "8 captions; all read" in err
    assert "\nstep       samples  time\n" in err
    assert "translate: not known: not in this test" in err
    assert "warning: translate: could not be tried: not in this test" in err
    (row,) = summary["stages"]
    assert (row["samples"], row["captions"], row["co2e_g"], row["source"]) == (4, None, None, "unknown")


def test_the_total_says_what_it_lacks(shards, tried, capsys):
    shards(toy_like(4))
    tried.append(answer(0, [4, 4000, []], [4, 4000, [["en", "", 8]]]))
    summary = estimated("run 'dedupe | split --fraction 0' shards --out out")
    assert (summary["total"]["seconds"], summary["unknown"]) == (4.0, ["split"])
    assert summary["total"]["co2e_g"] == pytest.approx(4 * 36 / 3.6e6 * summary["intensity"])
    assert "\nthe total lacks split\n" in capsys.readouterr().err


def test_what_is_finished_is_subtracted(shards, untried, monkeypatch):
    shards(toy_like(6), toy_like(4, 6), toy_like(3, 10))
    line = "dedupe shards --out done"
    monkeypatch.setattr(engine.partition, "share_of", lambda text, total: engine.partition.Share(1, 1, total))
    performed(line)
    (row,) = estimated(line)["stages"]
    assert (row["samples"], row["already_done"], row["source"], row["seconds"]) == (0, 13, "done", 0.0)
    Path("done/00001.tar").unlink()
    (row,) = estimated(line)["stages"]
    assert (row["samples"], row["already_done"]) == (4, 9)


def test_a_share_is_that_of_this_process(shards, untried):
    shards(toy_like(6), toy_like(4, 6), toy_like(3, 10))
    (row,) = estimated("dedupe shards --out done --share 2/3")["stages"]
    assert row["samples"] == 4


def test_several_workers_need_several_times_the_memory(shards, tried):
    shards(toy_like(4), toy_like(4, 4))
    tried.append(answer(0, [8, 8000, []], [8, 8000, [["en", "", 16]]]))
    summary = estimated("dedupe shards --out done --workers 3")
    assert summary["total"]["memory_bytes"] == 3 * 10**9
    assert "times are those of one process; 3 workers share the work" in summary["remarks"]


def test_a_trial_uses_no_network():
    code = (
        "import urllib.request\nfrom capivara_cli.cli.dry_run import offline\nrefused = offline.refuse_network()\n"
        "try: urllib.request.urlopen('http://127.0.0.1:9/')\nexcept OSError as error: print(error, len(refused))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "<urlopen error an estimate uses no network> 1\n"


def test_checks_leave_the_sockets_of_this_process_alone():
    def work() -> None:
        connected.append(socket.socket.connect)
        raise MissingFiles("the weights of x are needed, but nobody answers")

    connected, found = [], rehearsal.Rehearsal()
    before = socket.socket.connect
    found.check(work)
    assert connected == [before]
    assert found.remarks == ["the weights of x are needed; not on this machine yet"]


def test_a_full_disk_and_too_little_memory_are_said(shards, tried, monkeypatch):
    shards(toy_like(4))
    tried.append(answer(0, [4, 4000, []], [4, 4000, [["en", "", 8]]], peak=15 * 10**9))
    monkeypatch.setattr(rehearsal, "free_disk", lambda place: 1000)
    monkeypatch.setattr(plans, "free_memory", lambda device: 2 * 10**9)
    room, memory = estimated("dedupe shards --out done")["remarks"]
    assert room.startswith("not enough room: done needs about 1") or memory.startswith("not enough room")
    assert "not enough memory: about 15 GB are needed, and 2 GB are free" in (room, memory)


def test_what_is_not_here_is_no_error(shards, tried):
    shards(toy_like(4))
    tried.append({"error": "the weights of x are needed, but nobody answers", "hint": "", "code": 1, "missing": True})
    summary = estimated("filter shards --out done")
    (row,) = summary["stages"]
    assert (row["samples"], row["source"]) == (4, "unknown")
    assert row["basis"] == "the weights of x are needed; not on this machine yet"
    assert f"filter: could not be tried: {row['basis']}" in summary["remarks"]


def test_services_are_not_asked(shards, untried):
    shards(toy_like(4))
    summary = estimated("caption shards --captioner openai:some-model --base-url http://127.0.0.1:9 --out done")
    assert untried == []
    assert summary["remarks"] == ["caption: could not be tried: services are not called in a trial"]
    (row,) = summary["stages"]
    assert (row["samples"], row["seconds"], row["basis"]) == (4, None, "services are not called in a trial")


def test_other_sets_are_not_read_on_trial(shards, tried):
    shards(toy_like(4))
    shards(toy_like(2), name="test")
    tried.append(answer(0, [4, 4000, []], [4, 4000, [["en", "", 8]]]))
    summary = estimated("dedupe shards --against test --out done")
    assert column(summary, "source") == ["measured"]
    assert summary["remarks"] == ["dedupe: tried without --against, so its time and what it drops are not included"]


ERRORS = [
    "caption nowhere",
    "caption shards --captioner nope",
    "caption shards --beams 2 --temperature 1",
    "translate shards --lang en",
    "translate shards --only some",
    "filter shards --rules nope",
    "filter shards --model local-dir:nowhere",
    "split shards --out shards",
    "split shards --out strange",
    "split shards --out plain --workers 2 --engine nope",
    "split shards --share 3/2",
    "dedupe shards --against-by nope --against x",
    "pack",
    "pack nowhere",
    "pack nowhere --out packed",
    "pack toy:5 --workers 2",
    "pack toy:5 --format nope",
    "run",
    "run ''",
    "run 'caption | train' shards",
    "run 'split --fraction 2' shards",
    "train shards",
    "train shards --lang pt --patience 3",
    "train shards --lang pt --model local-dir:nowhere",
    "train shards --lang pt --name strange --runs .",
    "eval nope",
    "eval toy --k 0",
    "eval toy --lang klingon",
    "eval toy --translator nope",
    "adapt toy",
    "adapt --lang pt",
    "adapt toy --lang pt --captioner nope",
]


@pytest.mark.parametrize("line", ERRORS)
def test_the_same_errors_as_in_earnest(line, shards, untried):
    shards(toy_like(4))
    shards(toy_like(1), name="strange")
    with pytest.raises(CapivaraError) as real:
        performed(line)
    with pytest.raises(CapivaraError) as rehearsed:
        estimated(line)
    found, wanted = rehearsed.value, real.value
    assert (found.message, found.hint, found.exit_code) == (wanted.message, wanted.hint, wanted.exit_code)


def test_a_stream_cannot_be_counted(untried):
    with pytest.raises(CapivaraError, match="a stream cannot be counted without being read") as found:
        estimated("caption - --captioner toy")
    assert "capivara run" in found.value.hint


def test_commands_that_are_quick_have_no_dry_run():
    with pytest.raises(UsageError, match="show: No such option: --dry-run"):
        parse_command(["show", "shards", "--dry-run"], Settings())


def test_counts_by_manifest_by_reading_and_by_size(shards, monkeypatch):
    folder = shards(toy_like(40), toy_like(40, 40))
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    read = census.census_of(paths)
    assert (read.how, read.shards, read.seen) == ("counted", (40.0, 40.0), 80)
    assert read.captions == {census.CaptionKind("en", ""): 2.0}
    assert read.size == pytest.approx(sum(Path(path).stat().st_size for path in paths), rel=0.03)
    monkeypatch.setattr(census, "_SAMPLES_READ", 64)
    looked = census.census_of(paths)
    assert (looked.how, looked.seen) == ("sampled", 64)
    assert looked.samples == pytest.approx(80, abs=2)
    performed("dedupe shards --out done")
    listed = census.census_of([str(path) for path in sorted(Path("done").glob("*.tar"))])
    assert (listed.how, listed.shards) == ("manifest", (40.0, 40.0))


@pytest.mark.parametrize("with_manifest", [True, False])
def test_remote_shards_are_counted_by_manifest_or_size(with_manifest, shards, monkeypatch):
    shards(toy_like(40), toy_like(40, 40))
    performed("dedupe shards --out done")
    monkeypatch.setattr(census, "_SAMPLES_READ", 64)
    with web.serving() as server:
        for path in Path("done").iterdir():
            if path.suffix == ".tar" or with_manifest:
                server.files[f"/done/{path.name}"] = path.read_bytes()
        found = census.census_of([f"{server.address}/done/{number:05d}.tar" for number in range(2)])
    assert found.seen == 64
    assert found.how == ("manifest" if with_manifest else "sampled")
    assert found.samples == pytest.approx(80, abs=0 if with_manifest else 2)


def test_files_to_pack_are_counted(untried, here):
    (here / "photos").mkdir()
    for number in range(5):
        (here / "photos" / f"{number}.jpg").write_bytes(toy_like(1)[0].image)
    (here / "list.csv").write_text("image,caption\n" + "".join(f"photos/{n}.jpg,a cat\n" for n in range(5)))
    (here / "coco.json").write_text(json.dumps({
        "images": [{"id": n, "file_name": f"photos/{n}.jpg"} for n in range(4)],
        "annotations": [{"id": n, "image_id": n, "caption": "a cat"} for n in range(4)],
    }))  # fmt: skip
    assert column(estimated("pack photos"), "samples") == [5]
    assert column(estimated("pack list.csv"), "samples") == [5]
    (here / "twice.csv").write_text("image,caption\n" + "".join(f"photos/{n % 5}.jpg,a cat\n" for n in range(10)))
    (here / "lines.jsonl").write_text('{"image": "photos/0.jpg", "captions": ["a cat", "a dog"]}\nbroken\n')
    for name, images, captions in (("twice.csv", 5, 10), ("lines.jsonl", 1, 2), ("coco.json", 4, 4)):
        (row,) = estimated(f"pack {name}")["stages"]
        found = sources.census_of_sources([name], pack.options())
        assert (row["samples"], found.samples, sum(found.captions.values()) * found.samples) == (
            images,
            images,
            captions,
        )
    assert column(estimated("pack coco.json"), "samples") == [4]
    assert column(estimated("pack toy:2500"), "samples") == [2500]
    assert column(estimated("pack toy:2500 photos"), "samples") == [2505]
