"""The model card says what the run knows, in a form the Hugging Face hub reads, and nothing of the machine."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.results import EvalResults
from capivara_cli.reports import card as cards
from capivara_cli.reports.card import model_card
from capivara_cli.reports.card.front_matter import base_on_hub
from capivara_cli.reports.card.how_to_load import ExportedForms
from capivara_cli.reports.card.public import public

pytestmark = pytest.mark.usefixtures("one_thread")

RUN: dict[str, Any] = {
    "name": "pt",
    "request": {
        "lang": "pt", "continue_from": "", "peft": "lora", "lora_r": 8, "lora_alpha": 8.0, "lora_dropout": 0.0,
        "adapter_dim": 24, "compacter_reduction": 16, "phm_dim": 4, "prompt_tokens": 4,
        "keep_lang": "en", "optimizer": "adamw", "lr": 0.01, "min_lr": 1e-6, "weight_decay": 0.2, "seed": 3,
    },
    "base": {
        "source": {"model": "xlm-roberta-base-ViT-B-32", "pretrained": "laion5b_s13b_b90k"},
        "identity": {"model": "xlm-roberta-base-ViT-B-32", "weights": "sha256:aa", "preprocess": "224 px"},
        "image": "sha256:aa",
        "text": "sha256:ab",
    },
    "data": {"samples": 40, "captions": {"en": 60, "pt": 60}, "authors": [["pt", "opus:en-pt", 60]],
             "embedded_here": 0, "fingerprint": "sha256:bb"},
    "batch": {"size": 16, "kept": 3, "warmup": 10, "precision": "fp32"},
    "objective": {"clip": 1.0},
    "history": [{"step": "pack", "options": {"images": "/home/alice/photos"}}, {"step": "translate", "options": {}}],
    "versions": {"capivara": "0.1.0"},
    "step": 60,
    "parameters": {"method": "lora", "targets": ["query"], "total": 1000, "trainable": 10, "percent": 1.0,
                   "parts": {"in lora": 10}},
    "logit_scale": 2.5,
    "result": {"loss_first": 2.0, "loss_last": 1.0, "seconds": 9.0, "pairs_per_second": 100.0, "tokens": 900,
               "padded": 900, "peak_bytes": 1, "best_step": None, "val": None},
}  # fmt: skip


def row(model: str, mean: float, **more: Any) -> dict[str, Any]:
    recalls = {"R@1": mean / 2, "mean": mean}
    return {
        "set": "flickr30k", "split": "test", "lang": "pt", "model": model, "n_images": 1000, "n_captions": 5000,
        "text_to_image": recalls, "image_to_text": recalls, "mean_recall": mean, "interval": [mean - 1, mean + 1],
        "versus": None, "machine_translated": False, "queries_by": "",
        "provenance": {"source": "local copy in /home/alice/f30k", "licence": "own", "captions_by": {"people": 5000}},
    } | more  # fmt: skip


def results(name: str = "runs/pt") -> EvalResults:
    return EvalResults.from_json(documents(name))


def documents(name: str = "runs/pt") -> dict[str, list[dict[str, Any]]]:
    versus = {"model": "base", "difference": 20.0, "interval": [18.0, 22.0], "p": 0.001, "p_holm": 0.002}
    classified = {
        "set": "elevater:dtd", "split": "test", "lang": "pt", "model": name, "mode": "zero-shot",
        "metric": "mean-per-class", "score": 41.25, "top1": 40.0, "top5": 70.0, "interval": [40.0, 42.0],
        "versus": None, "n_images": 1880, "n_classes": 47, "names_by": "CAPIVARA", "machine_translated": True,
    }  # fmt: skip
    spread = {"set": "flickr30k", "split": "test", "score": "mean_recall", "languages": ["pt", "en"], "mean": 60.0,
              "range": 4.0, "std": 2.0, "worst": "pt", "gap_to_english": {"pt": 4.0}}  # fmt: skip
    return {
        "retrieval": [row("base", 40.0), row("runs/other", 50.0), row(name, 60.125, versus=versus)],
        "classification": [classified],
        "disparity": [{**spread, "model": "base"}, {**spread, "model": "runs/other"}, {**spread, "model": name}],
    }


def record(stage: str, grams: float, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{stage}{grams}", "stage": stage, "seconds": 75.0, "cpu_seconds": 60.0, "kwh_cpu": 0.001,
        "kwh_gpu": 0.002, "kwh_ram": 0.0, "kwh": 0.003, "co2e_g": grams, "intensity": 98.3, "country": "BRA",
        "source": "codecarbon", "hardware": "1 x A100",
    } | more  # fmt: skip


FOOTPRINT = [record("caption", 1.0), record("train", 2.5), record("eval", 100.0)]


def front(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def part(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n")[1].split("\n## ")[0].strip()


def test_the_front_matter_is_exactly_what_is_known() -> None:
    recalls = [("mean recall", 60.12), ("text to image R@1", 30.06), ("image to text R@1", 30.06)]
    assert front(model_card(RUN, results(), FOOTPRINT)) == {
        "language": ["pt"],
        "license": "other",
        "license_name": "not-chosen-yet",
        "library_name": "peft",
        "pipeline_tag": "zero-shot-image-classification",
        "base_model": "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        "base_model_relation": "adapter",
        "tags": ["clip", "lora", "capivara"],
        "co2_eq_emissions": {
            "emissions": 3.5,
            "source": "capivara footprint: codecarbon",
            "training_type": "fine-tuning",
            "geographical_location": "BRA",
            "hardware_used": "1 x A100",
        },
        "model-index": [{"name": "pt", "results": [
            {
                "task": {"type": "image-text-retrieval", "name": "Image–text retrieval"},
                "dataset": {"type": "flickr30k", "name": "flickr30k", "config": "pt", "split": "test"},
                "metrics": [{"type": "recall", "name": n, "value": v, "verified": False} for n, v in recalls],
            },
            {
                "task": {"type": "zero-shot-image-classification", "name": "Image classification, zero-shot"},
                "dataset": {"type": "elevater-dtd", "name": "elevater:dtd (machine-translated)", "config": "pt",
                            "split": "test"},
                "metrics": [{"type": "mean_per_class_accuracy", "name": "mean per class", "value": 41.25,
                             "verified": False}],
            },
        ]}],
    }  # fmt: skip


def test_the_hubs_own_reader_understands_it(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(model_card(RUN, results(), FOOTPRINT), "utf-8")
    assert metadata_load(path) == front(path.read_text("utf-8"))
    data = ModelCard.load(path, ignore_metadata_errors=False).data
    assert data.eval_results is not None and data.model_name == "pt"
    first, last = data.eval_results[0], data.eval_results[-1]
    assert (first.task_type, first.dataset_config, first.dataset_split) == ("image-text-retrieval", "pt", "test")
    assert (first.metric_type, first.metric_name, first.metric_value, first.verified) == (
        "recall", "mean recall", 60.12, False,
    )  # fmt: skip
    assert (last.dataset_name, last.metric_value) == ("elevater:dtd (machine-translated)", 41.25)


def test_sections_are_the_papers_and_filled() -> None:
    card = model_card(RUN, results(), FOOTPRINT)
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == [
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations", "Training procedure",
        "How the data was made", "Environmental impact", "How to load it", "Citation",
    ]  # fmt: skip
    assert "- trained: 10 of 1,000 parameters (1.00 %): 10 in lora\n" in part(card, "Model details")
    assert part(card, "Factors").splitlines()[:2] == [
        "- trained: Portuguese (pt); kept by training on them as well: English (en)",
        "- evaluated in: Portuguese (pt)",
    ]
    assert part(card, "Evaluation data") == (
        "- **flickr30k (test), retrieval**: 1,000 images; in pt; texts by people; local copy in f30k; licence: own\n"
        "- **elevater:dtd (test), classification**: 1,880 images; in pt (machine-translated); texts by CAPIVARA; "
        "licence: not known"
    )
    assert part(card, "Training data") == (
        "- 40 images\n- 60 captions in en\n- 60 captions in pt\n- 60 in pt by opus:en-pt\n- sha256:bb"
    )
    analyses = part(card, "Quantitative analyses")
    assert "| Portuguese (pt) | base | 20.0 | 20.0 | 40.0 | 39.0–41.0 | — |\n" in analyses
    assert "| Portuguese (pt) | pt | 30.1 | 30.1 | **60.1** | 59.1–61.1 | +20.0\\*\\* |\n" in analyses
    assert "| Portuguese (pt) (MT) | pt | 40.0 | 70.0 | 41.2 | 40.0–42.0 |\n" in analyses
    assert "| pt | 60.0 | 4.0 | 2.0 | pt | 4.0 |" in analyses and "other" not in analyses
    assert "Translations contain mistakes" in part(card, "Ethical considerations")
    assert "Synthetic" not in part(card, "Ethical considerations")
    assert "- 60 steps of 16 pairs, 3 of them in en\n" in part(card, "Training procedure")
    assert part(card, "How the data was made") == "- `pack --images photos`\n- `translate`"
    impact = part(card, "Environmental impact")
    assert "| caption | 1 | 1 min 15 s | 1 min 00 s | 3 | 1 | codecarbon |\n" in impact
    assert "| total | 3 | 3 min 45 s | 3 min 00 s | 9 | 104 | codecarbon |\n" in impact
    assert "carbon intensity: BRA, 98.3 g CO2e/kWh" in impact


def test_the_procedure_and_the_details_are_those_of_this_run() -> None:
    run = copy.deepcopy(RUN)
    run["objective"] = {"clip": 1.0, "drift": 4.0}
    run["result"] |= {"val": {"pt": 12.34, "mean": 56.78}, "best_step": 20}
    card = model_card(run)
    assert part(card, "Training procedure").splitlines() == [
        "- 60 steps of 16 pairs, 3 of them in en",
        "- 1 · symmetric InfoNCE between images and captions (arXiv 2103.00020)",
        "- 4 · distance of kept captions to the base model's embeddings",
        "- adamw, learning rate 0.01 to 1e-06 (cosine), 10 steps of warm-up, weight decay 0.2",
        "- precision of frozen weights: fp32",
        "- seed 3",
        "- loss: 2.0000 at the first step, 1.0000 at the last",
        "- best validation: step 20, mean recall 56.8",
    ]
    assert part(card, "Model details").splitlines() == [
        "- languages: Portuguese (pt)",
        "- base: xlm-roberta-base-ViT-B-32 laion5b\\_s13b\\_b90k",
        "- image tower: sha256:aa, 224 px",
        "- lora: rank 8, alpha 8, dropout 0, on query",
        "- trained: 10 of 1,000 parameters (1.00 %): 10 in lora",
        "- temperature: logit scale 2.5000",
        "- licence: not chosen yet; it has to agree with the licences of the base model and of the data",
        "- made with: capivara 0.1.0",
    ]


@pytest.mark.parametrize(
    ("method", "says", "valid"),
    [("lora", "the image tower is frozen", True), ("lit", "the image tower is frozen", True),
     ("full", "both towers are trained", False)],
)  # fmt: skip
def test_whether_image_embeddings_of_the_base_fit_is_said(method: str, says: str, valid: bool) -> None:
    run = copy.deepcopy(RUN)
    run["parameters"]["method"] = method
    card = model_card(run)
    assert says in card
    assert ("Image embeddings of the base model stay valid" in part(card, "Caveats and recommendations")) is valid
    assert ("Image embeddings of the base model do not fit" in part(card, "Caveats and recommendations")) is not valid


def test_before_evaluation_it_says_how_to_get_the_numbers() -> None:
    card = model_card(RUN)
    assert "model-index" not in front(card) and "co2_eq_emissions" not in front(card)
    command = "capivara eval TARGET THIS_FOLDER --model xlm-roberta-base-ViT-B-32 --pretrained laion5b_s13b_b90k"
    assert f"Not evaluated yet: `{command} --lang pt,en` measures" in part(card, "Quantitative analyses")
    assert part(card, "Evaluation data") == "Not evaluated yet."
    assert part(card, "Environmental impact").startswith("Not measured")


def shown(text: str) -> str:
    return " ".join(text.split()).replace("\x1b", "\\x1b")


@pytest.mark.parametrize(
    "text", ["no", "a: b", "- x\n--- \n---\ny", "'\"", "#!{[&*", "null", "1.5", "\x1b[31m", "é\u2028"]
)
def test_strange_names_neither_break_the_yaml_nor_become_markup(text: str) -> None:
    found = documents()
    for each in found["retrieval"]:
        each["set"] = f"{text}|<b>"
    card = model_card({**RUN, "name": "pt"}, EvalResults.from_json(found), [record("train", 1.0, hardware=text)])
    metadata = front(card)
    assert metadata["model-index"][0]["results"][0]["dataset"]["name"] == shown(f"{text}|<b>")
    assert metadata["co2_eq_emissions"]["hardware_used"] == shown(text)
    body = card.split("---\n", 2)[2]
    assert body.count("<b") == body.count("\\|\\<b\\>") > 3 and "\x1b" not in body


def test_languages_with_a_script_keep_their_code_where_the_hub_has_a_place_for_it() -> None:
    run = copy.deepcopy(RUN)
    run["request"]["lang"] = "sr-Latn,sr,no"
    metadata = front(model_card(run))
    assert (metadata["language"], metadata["language_bcp47"]) == (["sr", "nb"], ["sr-Latn", "sr", "nb"])


def test_a_language_given_by_its_name_is_a_code_in_the_card() -> None:
    run = copy.deepcopy(RUN)
    run["request"]["lang"] = "Portuguese, xh,pt"
    card = model_card(run)
    assert front(card)["language"] == ["pt", "xh"]
    assert "# pt: xlm-roberta-base-ViT-B-32 for pt, xh\n" in card


def test_a_run_of_the_same_name_in_another_folder_is_another_model(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "pt").mkdir(parents=True)
    folder, other = tmp_path / "a" / "pt", tmp_path / "b" / "pt"
    (folder / "run.json").write_text(json.dumps(RUN))
    (folder / "eval.json").write_text(
        json.dumps(
            {"retrieval": [row(str(other), 10.0), row(str(folder), 60.0)], "classification": [], "disparity": []}
        )
    )
    (folder / "footprint.json").write_text(json.dumps({"records": FOOTPRINT}))
    cards.write(folder)
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    values = [metric["value"] for metric in front(card)["model-index"][0]["results"][0]["metrics"]]
    assert values == [60.0, 30.0, 30.0] and len(front(card)["model-index"][0]["results"]) == 1
    assert front(card)["co2_eq_emissions"]["emissions"] == 3.5
    assert str(tmp_path) not in card and "alice" not in card
    moved = folder.rename(tmp_path / "pt")
    rows = {"retrieval": [row("pt", 10.0), row("runs/pt", 60.0)], "classification": [], "disparity": []}
    (moved / "eval.json").write_text(json.dumps(rows))  # a base model called as the run is, evaluated elsewhere
    assert [each.model for each in cards.read_results(moved).retrieval] == ["runs/pt"]


def test_a_damaged_file_or_an_unfinished_run_leaves_the_card_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "MODEL_CARD.md").write_text("before")
    (tmp_path / "run.json").write_text(json.dumps({"request": {}, "step": 3}))
    with pytest.raises(CapivaraError, match="no finished run"):
        cards.write(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    (tmp_path / "eval.json").write_text('{"retrieval": [3]}')
    with pytest.raises(CapivaraError, match=r"eval.json: damaged"):
        cards.write(tmp_path)
    assert (tmp_path / "MODEL_CARD.md").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MODEL_CARD.md", "eval.json", "run.json"]


def test_the_base_on_the_hub_is_known_or_left_out(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({**RUN, "base": {**RUN["base"], "source": {"model": "hf-hub:a/b", "pretrained": ""}}})
    )
    known = {
        ("hf-hub:org/name", ""): "org/name",
        ("mclip:XLM-Roberta-Large-Vit-B-32", "local-dir:x"): "M-CLIP/XLM-Roberta-Large-Vit-B-32",
        (f"mclip:{tmp_path}", ""): "",
        ("ViT-B-16-SigLIP-i18n-256", "webli"): "timm/ViT-B-16-SigLIP-i18n-256",
        ("toy", ""): "",
        ("local-dir:/x/y", ""): "",
        (str(tmp_path), ""): "a/b",
    }
    for (model, pretrained), expected in known.items():
        assert base_on_hub({"model": model, "pretrained": pretrained}) == expected, model


def test_how_to_load_is_about_what_lies_beside() -> None:
    folder = part(model_card(RUN), "How to load it")
    assert "PeftModel.from_pretrained(model.text, 'THIS_FOLDER/adapter')" in folder and "--hf DIR" in folder
    card = model_card(RUN, exported=ExportedForms(("open-clip", "hf", "peft"), "me/clip-pt"))
    loading = part(card, "How to load it")
    assert front(card)["library_name"] == "open_clip" and front(card)["base_model_relation"] == "finetune"
    assert 'open_clip.create_model_and_transforms("hf-hub:me/clip-pt")' in loading
    assert 'PeftModel.from_pretrained(model.text, "me/clip-pt", subfolder="adapter")' in loading
    assert 'snapshot_download("me/clip-pt")' in loading and "THIS_FOLDER" not in loading
    assert front(model_card(RUN, exported=ExportedForms(("hf",))))["library_name"] == "sentence-transformers"
    asked = part(model_card({**RUN, "translate_queries": "en"}), "How to load it")
    assert "Translate queries into en first" in asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local-dir:/home/alice/models/clip", "local-dir:clip"),
        ("local copy in /data/my photos/f30k", "local copy in f30k"),
        ("~/x/y and '../z/w'", "y and 'w'"),
        ("C:\\Users\\alice\\clip", "clip"),
        ("file:///home/alice/a.csv", "a.csv"),
        ("https://alice:pw@host.org/a/b?x=1&api_key=s3cret", "https://host.org/a/b?x=1&api_key=…"),
        ("https://host.org/a, /srv/b", "https://host.org/a, b"),
        ("argos:en-pt", "argos:en-pt"),
        ("and/or, 1 / 2, runs/pt", "and/or, 1 / 2, runs/pt"),
    ],
)
def test_what_is_public_names_no_place(text: str, expected: str) -> None:
    assert public({"a": [text]}) == {"a": [expected]}


def test_names_of_classes_are_not_touched() -> None:
    assert public({"confused": [["/x/y", "~/z", 3]], "/home/a/b": 1}) == {"confused": [["/x/y", "~/z", 3]], "b": 1}
