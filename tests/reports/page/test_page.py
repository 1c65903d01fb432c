"""``report``: what the page says of a run, of several, of one that lacks something; and that it is one sound page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from support.made import a_sample
from support.reported import (
    EVIL,
    FILTER,
    HISTORY,
    PACK,
    Page,
    a_record,
    a_run,
    caption,
    evaluate,
    versus,
    with_examples,
    with_shards,
    write_shards,
)

from capivara_cli.commands.report import Options, report
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.reports import templates
from capivara_cli.reports.page.caption_history import caption_histories, find_folders
from capivara_cli.reports.page.command_lines import command_text
from capivara_cli.reports.page.read_run import read_run
from capivara_cli.shards.sample import Sample, encode_json


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, because shards are looked for there too."""
    monkeypatch.chdir(tmp_path)


def a_whole_run() -> Path:
    folder = a_run(Path("runs/pt"))
    evaluate([folder])
    with_examples(folder)
    with_shards(folder)
    return folder


@pytest.fixture
def run() -> Path:
    """A run with everything, to be changed."""
    return a_whole_run()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a run with everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        return written(a_whole_run())


def written(*runs: Path, settings: Settings | None = None, **options: Any) -> Page:
    made = report.run([str(run) for run in runs], Options(**options), Env(settings or Settings(), "report"))
    return Page(Path(made["report"]))


def test_the_headline_says_what_was_gained_how_surely_and_at_what_cost(page: Page) -> None:
    text = page.sections["top"]
    assert "Portuguese for toy : LoRA on the text tower, 3 steps of 4 pairs" in text
    assert "+20.0 points vs toy 40.0 → 60.0 mean recall" in text
    assert "95 % interval +18.0 to +22.0; p < 0.001; one seed" in text
    assert "English No significant difference −1.0 80.0 → 79.0 mean recall, toy (test)" in text
    assert "Trained on 4 images captions: 8 in English, 4 in Portuguese" in text
    assert "Cost 1.5 kWh 750 g CO₂e, 2 min 00 s of computation" in text


def test_seeds_are_averaged_and_their_intervals_joined(run: Path) -> None:
    other = a_run(Path("runs/pt-seed1"), seed=1)
    evaluate([run, other])
    page = written(run, other)
    assert "+22.0 ± 2.8 points vs toy 40.0 → 62.0 mean recall" in page.sections["top"]
    assert "95 % interval +18.0 to +26.0 (all seeds); p = 0.020; mean ± std of 2 seeds" in (page.sections["top"])
    assert (
        "61.0–67.0 +24.0* mean ± std 52.0 62.0 72.0 52.0 62.0 72.0 1 2.5 62.0 ± 2.8 +22.0* English"
        in (page.sections["tables"])
    )
    assert "Cost 2.5 kWh" in page.sections["top"]  # what both runs come from is counted once
    assert "ablation" not in page.sections


@pytest.mark.parametrize("name", ["runs/again", "elsewhere/pt"])
def test_the_same_seed_again_is_one_run(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = a_run(Path(name))
    evaluate([run, again])
    page = written(run, again)
    head = page.sections["top"]
    assert "+20.0 points vs toy 40.0 → 60.0 mean recall" in head
    assert f"one seed; {again.name} has the options and the seed of pt: one run" in head
    assert "seeds" not in " ".join(page.sections.values())
    assert "mean ± std" not in page.sections["tables"]
    warning = f"warning: {name} has the options and the seed of runs/pt: they count as one run\n"
    assert warning in capsys.readouterr().err


def test_the_same_seed_again_beside_another_seed_counts_once(run: Path) -> None:
    other, again = a_run(Path("runs/pt-seed1"), seed=1), a_run(Path("runs/pt-again"), seed=1)
    evaluate([run, other, again], (60.0, 64.0, 70.0))
    head = written(run, other, again).sections["top"]
    assert "mean ± std of 2 seeds; pt-again has the options and the seed of pt-seed1: one run" in head
    assert "+22.0 ± 2.8 points vs toy 40.0 → 62.0 mean recall" in head


def test_of_runs_with_one_seed_the_one_with_results_counts() -> None:
    first, again = a_run(Path("runs/pt")), a_run(Path("runs/again"))
    evaluate([again])
    head = written(first, again).sections["top"]
    assert "+20.0 points vs toy 40.0 → 60.0 mean recall" in head
    assert "one seed; pt has the options and the seed of again: one run" in head


def test_a_copy_of_a_run_is_the_same_run(run: Path) -> None:
    shutil.copytree(run, "copy")
    head = written(run, Path("copy")).sections["top"]
    assert "one seed; copy has the options and the seed of pt: one run" in head


@pytest.mark.parametrize("other", ["./runs/pt", "runs/../runs/pt/", "link"])
def test_a_run_that_is_named_twice_is_read_once(other: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link").symlink_to(run)
    made = report.run([str(run), other], Options(), Env(Settings(), "report"))
    assert made["report"] == "runs/pt/report.html"
    assert "; one seed" in Page(Path(made["report"])).sections["top"]
    assert "warning" not in capsys.readouterr().err


def test_a_run_that_was_measured_under_two_names_is_one_seed(run: Path) -> None:
    results = json.loads((run / "eval.json").read_text())
    results["retrieval"] += [
        {**row, "model": "./somewhere/pt"} for row in results["retrieval"] if row["model"] == "runs/pt"
    ]
    (run / "eval.json").write_text(json.dumps(results))
    assert "; one seed" in written(run).sections["top"]


def test_seeds_in_folders_of_one_name_are_told_apart(run: Path) -> None:
    other = a_run(Path("more/pt"), seed=1)
    evaluate([run, other])
    for folder in (run, other):
        rows = json.loads((folder / "eval.json").read_text())
        for part in ("retrieval", "classification"):
            names = iter(["runs/pt", "more/pt"] * len(rows[part]))
            rows[part] = [row if row["model"] == "toy" else {**row, "model": next(names)} for row in rows[part]]
        (folder / "eval.json").write_text(json.dumps(rows))
    head = written(run, other).sections["top"]
    assert "+22.0 ± 2.8 points vs toy 40.0 → 62.0 mean recall" in head
    assert "mean ± std of 2 seeds" in head


def test_seeds_that_were_measured_apart_under_one_name_are_two(run: Path) -> None:
    other = a_run(Path("more/pt"), seed=1)
    evaluate([other], (64.0,))
    head = written(run, other).sections["top"]
    assert "+22.0 ± 2.8 points vs toy 40.0 → 62.0 mean recall" in head
    assert "mean ± std of 2 seeds" in head


def test_seeds_without_results_are_not_counted(run: Path) -> None:
    page = written(run, a_run(Path("runs/pt-seed1"), seed=1))
    assert "; one seed" in page.sections["top"]
    assert "means over" not in page.sections["languages"]


def test_the_page_refers_to_nothing_elsewhere_and_obeys_no_text(page: Page) -> None:
    anchors = {f"#{name}" for name in page.sections}
    others = [link for link in page.links if link not in anchors and not link.startswith("data:image/jpeg;base64,")]
    assert [link for link in others if not re.fullmatch("#[A-Za-z0-9_]+", link)] == ["data:,"]  # marks in the charts
    assert {"script", "object", "iframe", "form"} & {*page.tags} == set()
    assert page.tags.count("img") > 5
    text = page.html
    assert "url(http" not in text and "@import" not in text and "xmlns" not in text and "\x07" not in text
    for name in ("confusions", "examples", "captions"):
        assert EVIL.replace("\x07", "\ufffd") in page.sections[name]


def with_evil_texts(document: Any, keys: set[str]) -> Any:
    """The document with ``EVIL`` after every text, and every name of a dict of counts or checksums, under ``keys``."""
    if isinstance(document, list):
        return [with_evil_texts(each, keys) for each in document]
    if not isinstance(document, dict):
        return document

    def planted(value: Any) -> Any:
        if isinstance(value, list):
            return [planted(each) for each in value]
        if isinstance(value, dict):
            return {planted(name): planted(each) for name, each in value.items()}
        return f"{value}{EVIL}" if isinstance(value, str) else value

    return {key: planted(value) if key in keys else with_evil_texts(value, keys) for key, value in document.items()}


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_every_text_is_escaped(run: Path) -> None:
    other = a_run(Path("runs/strong"), lr=0.1)
    evaluate([run, other])
    clean = written(run, other)
    texts = {
        "eval.json": {
            "set", "split", "queries_by", "prompt", "names_by", "source", "licence", "obtained", "checksums",
            "captions_by", "by",
        },
        "run.json": {"preprocess", "image", "text", "authors", "fingerprint", "versions", "adapter_sha256"},
        "footprint.json": {"stage", "source", "country", "hardware"},
        "examples/examples.json": {"set", "split", "text", "captions", "key"},
    }  # fmt: skip
    for name, keys in texts.items():
        document = json.loads((run / name).read_text())
        document.pop("checksum", None)
        if name == "examples/examples.json":
            document["sets"][0]["images"] = {
                f"{key}{EVIL}": file for key, file in document["sets"][0]["images"].items()
            }
        (run / name).write_text(json.dumps(with_evil_texts(document, keys)))
    for name in ("eval.json", "footprint.json"):
        (other / name).write_text((run / name).read_text())
    document = json.loads((run / "run.json").read_text())
    document["request"] |= {"lr": 0.1, "prompt": EVIL}
    (other / "run.json").write_text(json.dumps({**document, "name": EVIL}))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["terms"] = {f"{name}{EVIL}": value for name, value in line["terms"].items()}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = written(run, other)
    assert {"script", "object", "iframe"} & {*page.tags} == set() and "\x07" not in page.html
    shown = EVIL.replace("\x07", "\ufffd")
    for name in ("tables", "confusions", "examples", "captions", "ablation", "footprint", "commands", "provenance"):
        assert shown in page.sections[name], name
    assert page.sections.keys() == clean.sections.keys()


def test_no_template_turns_escaping_off() -> None:
    folder = Path(templates.__file__).with_suffix("")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", path.read_text("utf-8")), path


def test_the_same_run_gives_the_same_page(run: Path, drawn: dict[str, Any]) -> None:
    written(run)
    before = (run / "report.html").read_bytes()
    drawn.clear()
    written(run)
    assert (run / "report.html").read_bytes() == before


def test_each_language_and_the_disparity_before_and_after(page: Page) -> None:
    text = page.sections["languages"]
    assert re.search(r"Portuguese .*English .*Xhosa \(MT\)", text)
    assert "+20.0" in text and "−1.0" in text and "−2.0" in text
    assert "best minus worst language 60.0 61.0" in text
    assert "Portuguese behind English 40.0 20.0" in text
    assert "worst language Xhosa Xhosa" in text
    assert "elevater:pets (test) mean per class 6.0 6.1 1.5 1.5 Portuguese Portuguese" in text


def test_each_set_has_a_bar_named_without_its_collection(page: Page) -> None:
    text = page.sections["sets"]
    assert "toy (mean recall)" in text and "pets (mean per class)" in text and "+5.5" in text
    assert "Other languages (Xhosa) are in the tables." in text


def test_the_tables_hold_every_row_with_interval_difference_and_marks(page: Page) -> None:
    text = page.sections["tables"]
    assert "Portuguese toy base 30.0 40.0 50.0 30.0 40.0 50.0 1 2.5 40.0 37.0–43.0" in text
    assert "runs/pt 50.0 60.0 70.0 50.0 60.0 70.0 1 2.5 60.0 57.0–63.0 +20.0*" in text
    assert "79.0 76.0–82.0 −1.0 n.s." in text
    assert "Xhosa (MT) toy base" in text and "(MT): machine-translated (nllb), not written by speakers" in text
    assert "runs/pt zero-shot mean per class 55.5 53.5–57.5 +5.5* 56.5 55.5" in text


def test_variants_and_translated_queries_are_told(run: Path) -> None:
    document = json.loads((run / "eval.json").read_text())
    row = document["retrieval"][1]
    row["queries_by"] = "argos:pt-en"
    recalls = {"R@1": 1.0, "R@5": 2.0, "R@10": 3.0}
    row["variants"] = {
        "without junk": {"n_captions": 3, "text_to_image": recalls, "image_to_text": recalls, "mean_recall": 61.5}
    }
    (run / "eval.json").write_text(json.dumps(document))
    text = written(run).sections["tables"]
    assert "Portuguese† runs/pt" in text and "† queries machine-translated first (argos:pt-en)" in text
    assert "without junk 1.0 2.0 3.0 1.0 2.0 3.0 61.5" in text


def test_confusions_stand_side_by_side(page: Page) -> None:
    text = page.sections["confusions"]
    assert "before: 50.0 mean per class toy" in text and "after: 55.5 mean per class runs/pt" in text
    assert text.count("Most confused gato predicted as cão") == 2


def test_examples_show_what_both_models_find(page: Page) -> None:
    text = page.sections["examples"]
    assert "Of all 4 queries, found after adaptation only: 4 (100 %)" in text
    assert "before rank 2 after rank 1" in text
    assert "A dashed square marks an image that could not be read" in text
    assert page.html.count('<span class="lacking') == 4


def test_a_thumbnail_that_is_gone_is_no_broken_image(run: Path) -> None:
    for path in (run / "examples").glob("*.jpg"):
        path.write_bytes(b"damaged")
    written(run)
    html = (run / "report.html").read_text("utf-8")
    part = html[html.index('id="examples"') : html.index('id="captions"')]
    assert "<img" not in part and part.count('<span class="lacking') > 8


def test_the_verdict_is_that_of_the_model_shown(run: Path) -> None:
    with_examples(run, ["toy", "runs/pt", "runs/other"])
    path = run / "examples" / "examples.json"
    document = json.loads(path.read_text())
    del document["checksum"]
    for query in document["sets"][0]["text_to_image"]:
        query["rank"]["runs/pt"] = 2.0
    path.write_text(json.dumps(document))
    text = written(run).sections["examples"]
    assert text.count("found by neither texto") == 4  # the last model found them, this run did not
    assert "Of all" not in text


def test_captions_that_were_left_out_have_a_reason(page: Page) -> None:
    text = page.sections["captions"]
    assert "packed pack train pack → filter" in text
    assert "a 1 of 3 captions kept" in text and "b 1 of 1 captions kept" in text
    assert "fraco 0.300 toy:en-pt filter: not among the best 1 in pt" in text
    assert "ruim 0.100 toy:en-pt filter: score below 0.2" in text


def test_without_shards_the_page_says_how_to_get_them(run: Path) -> None:
    shutil.rmtree(run.parent / "pt-data")
    text = written(run).sections["captions"]
    assert "are not beside it" in text and "capivara report runs/pt --shards PACKED,TRAIN" in text


def test_only_shards_of_the_same_history_are_taken(run: Path) -> None:
    other = {**PACK, "options": {"lang": "hi"}}
    write_shards(Path("runs/pt-data/other"), [other], [a_sample("a", caption("outro"))])
    write_shards(Path("runs/pt-data/more"), [*HISTORY, FILTER], [a_sample("a", caption("mais"))])
    (Path("runs/pt-data/damaged")).mkdir()
    Path("runs/pt-data/damaged/00000.tar").write_bytes(b"no tar")
    assert [folder.path.name for folder in find_folders(read_run(run), [])] == ["packed", "train"]


def test_rejects_say_why_an_image_was_left_out(run: Path) -> None:
    gone = a_sample("c", caption("perdido", 0.05))
    reject = gone.with_members(**{"dropped.json": encode_json({"step": "filter", "reason": "best caption below 0.2"})})
    write_shards(Path("all"), [PACK], [a_sample("a", caption("bom", 0.5)), gone])
    write_shards(Path("rejects/1-filter"), [FILTER], [reject])
    write_shards(Path("rejects/2-dedupe"), [FILTER], [])
    page = written(run, shards="all,rejects,runs/pt-data/train")
    assert "dropped: filter: best caption below 0.2" in page.sections["captions"]
    assert "perdido 0.050 toy:en-pt with its image" in page.sections["captions"]
    with pytest.raises(CapivaraError, match="nowhere: no such file or folder"):
        written(run, shards="nowhere")


def test_what_was_held_out_was_not_left_out(tmp_path: Path) -> None:
    split = {"step": "split", "options": {"part": "train"}}
    run = a_run(Path("runs/hi"))
    samples = [a_sample(key, caption(key)) for key in "abc"]
    packed, train = Path("p"), Path("t")
    write_shards(packed, [PACK], samples)
    write_shards(train, [PACK, split, FILTER], samples[:2])
    folders = find_folders(read_run(run), ["p", "t"])
    assert [(each.key, each.dropped, each.n_dropped) for each in caption_histories(folders, 6, ["pt"])] == [
        ("a", "", 0),
        ("b", "", 0),
    ]


def test_a_step_is_blamed_only_where_nothing_else_can_have_done_it(tmp_path: Path) -> None:
    dedupe = {"step": "dedupe", "options": {"threshold": 0.3}}
    run = read_run(a_run(Path("runs/hi")))
    write_shards(Path("p"), [PACK], [a_sample("a", caption("um"), caption("dois"))])
    train = write_shards(Path("t"), [*HISTORY, dedupe], [a_sample("a", caption("um"))])
    assert [status.dropped for status in caption_histories(find_folders(run, ["p", "t"]), 6, [])[0].statuses] == [
        "",
        "by filter or dedupe",
    ]
    plan = {"plan": [FILTER, dedupe], "fingerprint": "f", "shards": 1}
    nothing = {"read": 1, "written": 1, "dropped": {}, "notes": {}}
    steps = [nothing, {**nothing, "notes": {"near-duplicate captions": 1}}]
    lines = [plan, {"shard": "00000.tar", "steps": steps}]
    (train / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert (
        caption_histories(find_folders(run, ["p", "t"]), 6, [])[0].statuses[1].dropped
        == "dedupe: near-duplicate captions"
    )


def test_training_shows_loss_terms_validation_and_what_was_trained(page: Page) -> None:
    text = page.sections["training"]
    assert "3 steps, 100 pairs per second, at most 2 GB of memory, 10 of 1,000 parameters trained (1.00 %)." in text
    for name in ("Loss", "Loss terms", "clip", "drift", "Mean recall on held-out images", "Learning rate"):
        assert name in text


def test_languages_by_name_and_a_run_called_like_its_base_model() -> None:
    run = a_run(Path("runs/toy"), lang="Portuguese")
    evaluate([run])
    text = written(run).sections["top"]
    assert "Portuguese for toy" in text and "+20.0 points vs toy 40.0 → 60.0 mean recall" in text


def test_runs_of_other_options_are_compared(run: Path) -> None:
    other = a_run(Path("runs/strong"), lr=0.1, lora_r=16)
    evaluate([run, other])
    text = written(run, other).sections["ablation"]
    assert "run --lr --lora-r pt: toy (mean recall) pt: pets (mean per class) en: toy (mean recall)" in text
    assert "pt 0.01 8 60.0 +20.0* 55.5 +5.5*" in text and "strong 0.1 16 64.0 +24.0*" in text
    assert "+20.0 points" in written(run, other).sections["top"]  # the page is about the first


def test_the_footprint_adds_up_per_stage(run: Path) -> None:
    records = [a_record("one", "pack", 0.5), a_record("two", "train", 1.0), a_record("two", "train", 1.0)]
    (run / "footprint.json").write_text(json.dumps({"records": records}))
    text = written(run).sections["footprint"]
    assert "Carbon intensity: world, 500 g CO2e/kWh." in text
    assert "train 1 4 1 min 00 s 0.0 s 1 kWh 500 g modelled" in text
    assert "total 2 2 min 00 s 0.0 s 1.5 kWh 750 g modelled" in text


def test_the_commands_are_as_one_would_type_them(page: Page) -> None:
    text = page.sections["commands"]
    assert "capivara run ' pack | filter --model toy --min-score 0.2 --top-k 1 ' PHOTOS --out SHARDS" in text
    assert "capivara train SHARDS --lang pt --model toy --steps 3 --lr 0.01 --name pt" in text
    assert "capivara eval runs/pt toy elevater:pets --model toy --lang pt,en,xh" in text
    assert (
        command_text("caption", {"clean": False, "n": 10, "captioner": "my own"})
        == "caption --no-clean --captioner 'my own'"
    )
    assert command_text("gone", {"from_": "en", "on": True, "off": None}) == "gone --from en --on"


def test_every_set_has_its_source_licence_and_checksum(page: Page) -> None:
    text = page.sections["provenance"]
    assert "toy (test) Portuguese, English human (4) https://example.org/toy CC BY 4.0 local copy captions.txt" in text
    assert "Training data sha256:3" in text and "Adapter sha256:4" in text


def test_a_run_without_results_says_how_to_get_them() -> None:
    run = a_run(Path("runs/pt"))
    page = written(run)
    assert "not measured yet" in page.sections["top"]
    command = "capivara eval runs/pt EVAL_SET --model toy --lang en,pt"
    for name in ("languages", "sets", "examples"):
        assert command in page.sections[name]
    assert "capivara eval runs/pt elevater --model toy --lang en,pt" in page.sections["confusions"]
    assert "tables" not in page.sections and "Loss" in page.sections["training"]


def test_old_results_without_base_model_and_intervals_are_shown(run: Path) -> None:
    row = {"set": "toy", "lang": "pt", "model": "runs/pt", "mean_recall": 60.0}
    ways = {"text_to_image": {"R@1": 50.0, "mean": 50.0}, "image_to_text": {"R@1": 70.0, "mean": 70.0}}
    old = {"set": "toy", "split": "test", "lang": "pt", "model": "runs/pt", "top1": 12.5, "top5": 50.0}
    document = {"retrieval": [{**row, **ways}], "classification": [old], "disparity": []}
    (run / "eval.json").write_text(json.dumps(document))
    page = written(run)
    assert "eval.json has no results of the base model" in page.sections["languages"]
    assert "capivara eval runs/pt toy --model toy --lang pt" in page.sections["languages"]
    assert "Portuguese runs/pt 50.0 70.0 — — 60.0 —" in page.sections["tables"]
    assert "runs/pt zero-shot accuracy 12.5 — 12.5 50.0" in page.sections["tables"]


def test_a_gain_that_may_be_chance_is_called_so(run: Path) -> None:
    document = json.loads((run / "eval.json").read_text())
    document["retrieval"][1]["versus"] = versus(20.0, 0.061)
    for row in document["retrieval"][:2]:
        row |= {"synthetic": True, "machine_translated": True}
    (run / "eval.json").write_text(json.dumps(document))
    page = written(run)
    assert "No significant difference +20.0 points vs toy" in page.sections["top"]
    remarks = "one seed; captions machine-translated; captions by a captioner, not by people"
    assert f"p = 0.061; {remarks}" in page.sections["top"]
    hero = page.html.partition('class="tile wide hero unsure"')[2].partition("</div>")[0]
    assert hero.index("No significant difference") < hero.index("+20.0") and 'class="same">+20.0' in hero


def test_differences_that_are_not_significant_are_grey_and_marked(page: Page) -> None:
    assert '<span class="up" title="significant">+20.0*</span>' in page.html
    assert '<span class="same" title="not significant">−1.0 n.s.</span>' in page.html
    assert not re.search(r'class="(?:up|down)"[^>]*>[^<]*n\.s\.', page.html)
    languages = page.html.partition('id="languages"')[2].partition("</section>")[0]
    for gain in ("−1.0 n.s.", "−2.0 n.s."):
        style = re.search(rf'<text style="([^"]*)"[^>]*>{gain}</text>', languages)
        assert style and "var(--soft)" in style[1] and "700" not in style[1], gain
    assert "English 80.0 to 79.0 (not significant)" in languages


def test_differences_are_headed_by_the_model_compared_with(page: Page) -> None:
    assert page.html.count('<th class="n">vs toy</th>') == 2  # retrieval and classification
    assert ">difference</th>" not in page.html


def test_runs_that_differ_in_more_than_the_seed_are_no_seeds(run: Path) -> None:
    other = a_run(Path("runs/pt-seed1"), seed=1)
    evaluate([run, other])
    document = json.loads((other / "run.json").read_text())
    document["base"]["text"] = "sha256:other"
    (other / "run.json").write_text(json.dumps(document))
    page = written(run, other)
    assert "; one seed" in page.sections["top"] and "+20.0 points" in page.sections["top"]
    assert "seeds" not in " ".join(page.sections.values()) and "mean ± std" not in page.html
    assert "run base model pt: toy (mean recall)" in page.sections["ablation"]


def test_every_foreign_text_has_its_language(run: Path) -> None:
    document = json.loads((run / "eval.json").read_text())
    document["retrieval"][1]["prompt"] = "uma foto de {}"
    (run / "eval.json").write_text(json.dumps(document))
    html = written(run).html
    texts = ["uma foto de {}", "gato", f"texto {EVIL} 0".replace("\x07", "\ufffd"), "ruim"]
    for text in texts:
        shown = re.findall(rf"<(\w+)([^>]*)>{re.escape(str(escape(text)))}[ <]", html)
        assert shown, text
        assert all('lang="pt" dir="auto"' in attributes for tag, attributes in shown if tag != "text"), text
    assert not re.search(
        '<(?:ul|ol)[^>]* (?:lang|dir)=|<ol class="texts">.*?<li[^>]*dir=', html
    )  # numbers stay at the left
    assert html.count('<g lang="pt">') == 2  # the names in the confusion matrices


def test_curves_have_whole_steps_and_plain_numbers(page: Page) -> None:
    training = page.html.partition('id="training"')[2].partition("</section>")[0]
    charts = training.split("<figure")[1:]
    assert len(charts) == 4
    for chart in charts:
        labels = re.findall("<text[^>]*>([^<]*)</text>", chart)
        assert labels[: labels.index("step")] == ["0", "1", "2", "3"]
        assert not any(re.search(r"\de[+−-]?\d", label) for label in labels)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("eval.json", "{", "eval.json: damaged: Expecting property name"),
        ("eval.json", '{"retrieval": []}', "eval.json: damaged: 'classification'"),
        (
            "eval.json",
            '{"retrieval": [{"set": "a", "lang": "pt", "model": "b", "mean_recall": "high"}]}',
            "eval.json: damaged: 'mean_recall' of a retrieval row is 'high'",
        ),
        ("examples/examples.json", '{"sets": [{"set": "toy"}]}', "examples.json: damaged: 'split'"),
        ("metrics.jsonl", '{"step": 1\n{"step": 2, "loss": 1}\n', "metrics.jsonl: line 1: damaged"),
        ("footprint.json", "[]", "footprint.json: not a ledger of footprints"),
    ],
)
def test_a_damaged_file_is_named(run: Path, name: str, text: str, message: str) -> None:
    (run / name).write_text(text)
    with pytest.raises(CapivaraError) as caught:
        written(run)
    assert message in caught.value.message and caught.value.hint
    assert not (run / "report.html").exists()


def test_a_line_of_metrics_torn_by_a_kill_counts_as_not_written(run: Path) -> None:
    with open(run / "metrics.jsonl", "a") as out:
        out.write('{"step": 4, "lo')
    assert "3 steps, " in written(run).sections["training"]


def test_out_names_the_file_and_the_summary_tells_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = report.run([str(run)], Options(), Env(Settings(out="deep/page.html"), "report"))
    assert made["report"] == "deep/page.html" and made["bytes"] == Path("deep/page.html").stat().st_size
    assert made["sections"] == [
        "languages", "sets", "tables", "confusions", "examples", "captions", "training", "footprint", "commands",
        "provenance",
    ]  # fmt: skip
    assert "capivara report: deep/page.html, " in capsys.readouterr().err
    assert report.run([str(run)], Options(), Env(Settings(out="folder"), "report"))["report"] == "folder/report.html"


def test_the_page_about_several_runs_replaces_that_of_none(run: Path) -> None:
    other, inner = a_run(Path("runs/hi"), seed=1), a_run(run / "later", seed=2)
    for each in (run, other, inner):
        (each / "report.html").write_text("its own")
    for runs in ([run, other], [other, run], [run, inner]):
        made = report.run([str(each) for each in runs], Options(), Env(Settings(), "report"))
        assert made["report"] == "report.html"
        assert all(str(each) in Path("report.html").read_text("utf-8") for each in runs)
    assert [(each / "report.html").read_text() for each in (run, other, inner)] == ["its own"] * 3
    assert written(run).sections and (run / "report.html").read_text() != "its own"


def test_a_run_under_two_names_is_one_run(run: Path) -> None:
    Path("link").symlink_to(run)
    made = report.run([f"{run}/", "./link", str(run.resolve())], Options(), Env(Settings(), "report"))
    assert made["report"] == "runs/pt/report.html" and "one seed" in Page(Path(made["report"])).sections["top"]


def test_an_earlier_page_among_the_runs_is_passed_over(run: Path) -> None:
    a_run(Path("runs/hi"), seed=1)
    Path("runs/report.html").write_text("a page")
    shutil.rmtree("runs/pt-data")
    names = sorted(map(str, Path("runs").iterdir()))
    assert report.run(names, Options(), Env(Settings(), "report"))["report"] == "report.html"
    with pytest.raises(UsageError, match="which run"):
        report.run(["runs/report.html"], Options(), Env(Settings(), "report"))


@pytest.mark.parametrize(
    ("runs", "out"),
    [
        (["runs/pt", "runs/hi"], "runs/pt"),
        (["runs/pt", "runs/hi"], "runs/hi/report.html"),
        (["runs/pt"], "link"),
    ],
)
def test_out_does_not_name_the_page_of_another_run(runs: list[str], out: str, run: Path) -> None:
    a_run(Path("runs/hi"), seed=1)
    Path("link").symlink_to("runs/hi")
    with pytest.raises(UsageError, match=f"{out}.* is the page about that run alone"):
        report.run(runs, Options(), Env(Settings(out=out), "report"))
    assert not list(Path().rglob("report.html"))
    assert report.run(runs, Options(), Env(Settings(out="runs/pt/both.html"), "report"))["bytes"]


def test_in_the_folder_of_a_run_the_page_about_several_needs_a_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(Path("runs/hi"), seed=1)
    monkeypatch.chdir(run)
    with pytest.raises(UsageError, match=r"report: report\.html is the page about that run alone"):
        report.run([".", "../hi"], Options(), Env(Settings(), "report"))
    assert report.run(["."], Options(), Env(Settings(), "report"))["report"] == "report.html"


def test_what_is_no_finished_run_is_refused(page: Page) -> None:
    with pytest.raises(UsageError, match="report: which run"):
        written()
    with pytest.raises(CapivaraError, match=r"runs/none: no run\.json"):
        written(Path("runs/none"))


def test_a_sample_without_captions_or_image_is_no_obstacle(run: Path) -> None:
    broken = Sample("c", {"jpg": b"", "json": b"["})
    blind = a_sample("d", caption("cego"), image=b"no image")
    write_shards(Path("odd"), [PACK], [broken, blind])
    assert "d 1 of 1 captions kept" in written(run, shards="odd").sections["captions"]
