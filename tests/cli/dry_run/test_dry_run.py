"""`--dry-run` of stages and plans: counts that go on from step to step, where rates come from, nothing written."""

from __future__ import annotations

import io
import json
import socket
import urllib.request
from pathlib import Path

import pytest
from support import web
from support.made import a_sample, toy_like
from support.rehearsing import column, estimated, performed, tree

from capivara_cli.cli.dry_run import census, machine, offline, rehearsal
from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.perform import perform
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Caption

PLAN = (
    "caption --captioner toy --n 3 | translate --translator toy --lang pt,hi | filter --model toy --top-k 2 | "
    "split --fraction 0.1"
)


def test_captions_multiply_from_step_to_step(shards, untried):
    shards(toy_like(12), toy_like(8, 12))
    summary = estimated(f"run '{PLAN}' shards --out done")
    assert column(summary, "stage") == ["caption", "translate", "filter", "split"]
    assert column(summary, "samples") == [20, 20, 20, 20]
    # 2 + 3 in English, as many in pt and hi, then two of each language, then nine tenths of the samples
    assert column(summary, "captions") == [100, 300, 120, 108]
    assert summary["total"]["seconds"] == pytest.approx(sum(column(summary, "seconds")), abs=0.11)
    assert untried[0]["steps"][0]["options"]["n"] == 3
    assert untried[0]["steps"][1]["options"]["cache"] is False


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
    assert "stage      samples  captions then" in err
    assert "translate: assumed: 0.2 GFLOP per image (toy) at " in err
    assert "warning: translate: could not be tried: not in this test" in err
    (row,) = summary["stages"]
    assert (row["captions"], row["source"]) == (16, "assumed")
    assert row["kwh"] * summary["intensity"] == pytest.approx(row["co2e_g"])


@pytest.mark.parametrize(
    ("step", "captions"),
    [
        ("caption --captioner toy --n 10", 14),
        ("translate --lang pt --translator toy", 6),  # of three English captions one has been translated
        ("translate --lang xh --translator toy --back-translate", 10),
        ("translate --lang pt --translator toy --only synthetic", 4),  # one to translate, and one is there
        ("translate --lang xh --translator toy --replace", 4),
        ("translate --lang hi --from auto --translator toy", 7),
        ("rewrite --rewriter eda --n 4", 16),
        ("filter --no-score --top-k 2", 3),
        ("filter --no-score --top-k 2 --no-per-lang", 2),
        ("filter --no-score --top-fraction 0.5 --model toy", 2),
        ("split --part heldout --fraction 0.25", 1),
        ("dedupe", 4),
    ],
)
def test_what_a_stage_makes_of_captions(step, captions, shards, untried):
    english = [Caption("a cat", "en", "alt"), Caption("a dog", "en", "someone")]
    made = Caption("a cat sits", "en", "captioner", prefix="a cat")
    shards([a_sample("one", *english, made, Caption("um gato", "pt", "toy", of="a cat"))])
    (row,) = estimated(f"{step.partition(' ')[0]} shards {step.partition(' ')[2]} --out out")["stages"]
    assert row["captions"] == captions


def test_what_is_finished_is_subtracted(shards, untried, monkeypatch):
    shards(toy_like(6), toy_like(4, 6), toy_like(3, 10))
    line = "dedupe shards --out done"
    monkeypatch.setattr(engine.partition, "of", lambda text, total: engine.partition.Share(1, 1, total))
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


def test_a_past_run_is_believed_first(shards, untried):
    shards(toy_like(6))
    performed("dedupe shards --out before")
    record = {
        "id": "1", "stage": "dedupe", "source": "modelled", "seconds": 3.0, "cpu_seconds": 1.0, "kwh_cpu": 1e-5,
        "kwh_gpu": 0.0, "kwh_ram": 0.0, "kwh": 1e-5, "co2e_g": 0.1, "samples": 6, "device": "cpu",
    }  # fmt: skip
    Path("before/footprint.jsonl").write_text(json.dumps(record) + "\n")
    shards(toy_like(20, 100), name="more")
    (row,) = estimated("dedupe more --out after")["stages"]
    assert (row["source"], row["seconds"]) == ("past", 10.0)
    assert row["basis"] == f"{Path('before').resolve()}, 6 samples on cpu"
    assert row["kwh"] == pytest.approx(1e-5 / 3 * 10)
    assert untried == []
    (other,) = estimated("dedupe more --out after --threshold 0.4")["stages"]
    assert other["source"] == "assumed"
    Path("before/footprint.jsonl").write_text(json.dumps(record | {"device": "cuda"}) + "\n")
    (elsewhere,) = estimated("dedupe more --out after")["stages"]
    assert elsewhere["source"] == "assumed"


def test_a_past_run_with_other_numbers_of_captions_is_scaled(shards, untried):
    shards(toy_like(6))
    plan = [{"step": "caption", "options": {}}]
    options = parse_command(["caption", "--captioner", "toy", "--n", "2"], Settings()).options
    from capivara_cli.pipeline.stage import Step, stage

    step = Step(stage("caption", type(options))(lambda *_: iter(())), options)
    plan = [step.describe(0)]
    Path("before").mkdir()
    head = {"plan": plan, "fingerprint": "x", "shards": 1}
    Path("before/manifest.jsonl").write_text(json.dumps(head) + "\n")
    record = {
        "id": "1", "stage": "caption", "source": "modelled", "seconds": 6.0, "cpu_seconds": 1.0, "kwh_cpu": 1e-5,
        "kwh_gpu": 0.0, "kwh_ram": 0.0, "kwh": 1e-5, "co2e_g": 0.1, "samples": 6,
    }  # fmt: skip
    Path("before/footprint.jsonl").write_text(json.dumps(record) + "\n")
    (row,) = estimated("caption shards --captioner toy --n 10 --out after")["stages"]
    assert (row["source"], row["seconds"]) == ("past", 30.0)


def test_a_past_run_of_the_whole_plan_is_one_row(shards, untried):
    shards(toy_like(6))
    performed("run 'split --fraction 0 | dedupe' shards --out before")
    record = {
        "source": "modelled", "cpu_seconds": 1.0, "kwh_cpu": 0.0, "kwh_gpu": 0.0, "kwh_ram": 0.0, "kwh": 0.0,
        "co2e_g": 0.0, "samples": 6, "device": "cpu", "plan": "1",
    }  # fmt: skip
    steps = [{"id": "2", "stage": "split", "seconds": 2.0}, {"id": "3", "stage": "dedupe", "seconds": 10.0}]
    Path("before/footprint.jsonl").write_text("".join(json.dumps({**record, **step}) + "\n" for step in steps))
    shards(toy_like(30, 100), name="more")
    (row,) = estimated("run 'split --fraction 0 | dedupe' more --out after")["stages"]
    assert (row["stage"], row["samples"], row["captions"]) == ("split | dedupe", 30, 60)
    assert (row["source"], row["seconds"]) == ("past", 60.0)
    assert untried == []


def test_several_workers_need_several_times_the_memory(shards, untried):
    shards(toy_like(4), toy_like(4, 4))
    summary = estimated("filter shards --out done --workers 3")
    assert summary["total"]["memory_bytes"] == pytest.approx(3 * (0.6e9 + 4 * 0.366e9))
    assert "times are those of one process; 3 workers share the work" in summary["remarks"]


def test_an_estimate_uses_no_network():
    before = socket.getaddrinfo
    with offline.offline() as blocked, pytest.raises(OSError, match="an estimate uses no network"):
        urllib.request.urlopen("http://127.0.0.1:9/")
    assert blocked
    assert socket.getaddrinfo is before


def test_a_full_disk_and_too_little_memory_are_said(shards, untried, monkeypatch):
    shards(toy_like(4))
    monkeypatch.setattr(rehearsal, "free_disk", lambda place: 1000)
    monkeypatch.setattr(machine, "_CORE_GFLOPS", 1.0)
    remarks = estimated("dedupe shards --out done")["remarks"]
    assert any(each.startswith("not enough room: done needs about 1") for each in remarks), remarks
    small = rehearsal.Rehearsal(475.0)
    small.check_memory(15e9, 2e9)
    assert small.remarks == ["not enough memory: about 15 GB are needed, and 2 GB are free"]


def test_what_is_not_here_is_no_error(shards, untried):
    shards(toy_like(4))
    summary = estimated("filter shards --out done")
    (row,) = summary["stages"]
    assert row["source"] == "assumed"
    assert row["basis"].startswith("14.2 GFLOP per image (xlm-roberta-base-ViT-B-32) at ")  # 8.8 + 2 x 2.7
    assert row["memory_bytes"] == pytest.approx(0.6e9 + 4 * 0.366e9)
    (remark,) = [each for each in summary["remarks"] if "could not be tried" not in each]
    assert remark.endswith("are needed; not on this machine yet, what it takes is assumed")


def test_services_are_not_asked(shards, untried):
    shards(toy_like(4))
    summary = estimated("caption shards --captioner openai:some-model --base-url http://127.0.0.1:9 --out done")
    assert untried == []
    assert summary["remarks"] == ["caption: could not be tried: a service is not asked on trial"]
    (row,) = summary["stages"]
    assert row["seconds"] == 5.0  # 40 captions, 16 at once, 2 s each
    assert row["basis"] == "openai: 16 requests at once, 2 s each"


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
    with pytest.raises(UsageError, match="show: --dry-run is for what takes long"):
        estimated("show shards")


def test_counts_by_manifest_by_reading_and_by_size(shards, monkeypatch):
    folder = shards(toy_like(40), toy_like(40, 40))
    paths = [str(path) for path in sorted(folder.glob("*.tar"))]
    read = census.census_of(paths)
    assert (read.how, read.shards, read.seen) == ("counted", (40.0, 40.0), 80)
    assert read.captions == {census.Kind("en", ""): 2.0}
    assert read.size == pytest.approx(sum(Path(path).stat().st_size for path in paths), rel=0.03)
    monkeypatch.setattr(census, "_SAMPLES_LOOKED_AT", 64)
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
    monkeypatch.setattr(census, "_SAMPLES_LOOKED_AT", 64)
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
        assert (row["samples"], row["captions"]) == (images, captions)
    assert column(estimated("pack coco.json"), "samples") == [4]
    assert column(estimated("pack toy:2500"), "samples") == [2500]
    assert column(estimated("pack toy:2500 photos"), "captions") == [2500]
