"""The YAML at the top of a model card, which the Hugging Face hub reads to index a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capivara_cli.costs import ledger
from capivara_cli.evaluation.metric_names import DIRECTIONS, of_metric
from capivara_cli.evaluation.results import ZERO_SHOT, EvalResults, RetrievalRow, ScoredRow
from capivara_cli.models.clip_files import DEFAULT_MODEL, DEFAULT_PRETRAINED, DEFAULT_REPO, HUB, MCLIP
from capivara_cli.models.run_document import RunDocument, trained_languages
from capivara_cli.models.run_folder import RunDir
from capivara_cli.reports import markdown

MEASURING = frozenset({"eval", "report"})
"""Commands whose cost is not part of making a model."""


def front_matter(
    run: RunDocument, rows: EvalResults, footprint: Sequence[ledger.LedgerRecord], library: str
) -> dict[str, Any]:
    """The metadata of a model card, by the hub's specification. Keys without a known value are missing.

    ``rows``: the results of this model alone; ``library``: the name of the library that loads the model.
    """
    langs = trained_languages(run["request"])
    base = base_on_hub(run["base"]["source"])
    results = _results(rows)
    found = {
        "language": list(dict.fromkeys(lang.partition("-")[0] for lang in langs)),
        "language_bcp47": langs if any("-" in lang for lang in langs) else None,
        "license": "other",
        "license_name": "not-chosen-yet",
        "library_name": library,
        "pipeline_tag": "zero-shot-image-classification",
        "base_model": base,
        "base_model_relation": base and ("adapter" if library == "peft" else "finetune"),
        "tags": ["clip", run["parameters"]["method"], "capivara"],
        "co2_eq_emissions": _emissions(footprint),
        "model-index": [{"name": run["name"], "results": results}] if results else None,
    }
    return {key: _flat(value) for key, value in found.items() if value}


def written(metadata: dict[str, Any]) -> str:
    """The metadata as YAML between two lines ``---``."""
    from huggingface_hub.utils import yaml_dump

    text = yaml_dump(metadata, sort_keys=False, default_flow_style=None, width=1 << 20)
    return f"---\n{text}---\n"


def base_on_hub(source: dict[str, str]) -> str:
    """ORG/NAME of the base model on the hub; "" if it is not on the hub, or not known."""
    model, pretrained = source["model"], source.get("pretrained", "")
    if (Path(model) / "run.json").is_file():  # the base is a run: take the base of that
        return base_on_hub(RunDir(Path(model)).document["base"]["source"])
    if model.startswith(HUB):
        return model.removeprefix(HUB)
    if model.startswith(MCLIP):
        name = model.removeprefix(MCLIP)
        repo = name if "/" in name else f"M-CLIP/{name}"
        return "" if Path(name).is_dir() or not re.fullmatch(r"[\w.-]+/[\w.-]+", repo) else repo
    if model == DEFAULT_MODEL and pretrained in ("", DEFAULT_PRETRAINED):
        return DEFAULT_REPO
    return _by_tag(model, pretrained) if pretrained and ":" not in model else ""


def _by_tag(model: str, pretrained: str) -> str:
    """ORG/NAME of the weights of an architecture, by open_clip's table; "" if they are not on the hub."""
    import open_clip

    repo: str = (open_clip.get_pretrained_cfg(model, pretrained) or {}).get("hf_hub", "")
    return "/".join(repo.split("/")[:2])


def _results(rows: EvalResults) -> list[dict[str, Any]]:
    """Retrieval and classification as the ``results`` of a ``model-index``."""
    found = []
    for row in rows.retrieval:
        recalls = [
            _metric("recall", f"{words} {key}", value)
            for way, words in DIRECTIONS.items()
            for key, value in getattr(row, way).items()
            if key.startswith("R@")
        ]
        found.append(_result("image-text-retrieval", "Image–text retrieval", row, [_score(row), *recalls]))
    for each in rows.classification:
        task = "zero-shot-image-classification" if each.mode == ZERO_SHOT else "image-classification"
        found.append(_result(task, f"Image classification, {each.mode}", each, [_score(each)]))
    return found


def _result(task: str, name: str, row: ScoredRow, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    prompt = row.prompt if isinstance(row, RetrievalRow) else ""
    remarks = [
        "machine-translated" if row.machine_translated else "",
        "captions by a captioner" if row.synthetic else "",
        "queries translated first" if row.queries_by else "",
        f"with the prompt “{prompt}”" if prompt else "",
    ]
    shown = "; ".join(filter(None, remarks))
    dataset = {
        "type": re.sub(r"[^a-z0-9]+", "-", row.set.lower()).strip("-") or "unnamed",
        "name": f"{row.set} ({shown})" if shown else row.set,
        "config": row.lang,
        "split": row.split,
    }
    return {
        "task": {"type": task, "name": name},
        "dataset": {key: value for key, value in dataset.items() if value},
        "metrics": metrics,
    }


def _score(row: ScoredRow) -> dict[str, Any]:
    names = of_metric(row.metric)
    return _metric(names.hub, names.name, row.score)


def _metric(kind: str, name: str, value: float) -> dict[str, Any]:
    return {"type": kind, "name": name, "value": round(float(value), 2), "verified": False}


def _emissions(footprint: Sequence[ledger.LedgerRecord]) -> dict[str, Any] | None:
    """Grams of CO2e of all commands that made the model, without those that measure it; None if there is no record."""
    records = [each for each in footprint if each["stage"] not in MEASURING]
    if not records:
        return None
    countries = dict.fromkeys(str(each.get("country") or "world") for each in records)
    hardware = dict.fromkeys(str(each.get("hardware", "unknown")) for each in records)
    known = [name for name in hardware if name != "unknown"]
    unknown = "not given; world average of the carbon intensity"
    found = {
        "emissions": float(f"{sum(each['co2e_g'] for each in records):.4g}"),
        "source": f"capivara footprint: {', '.join(sorted({each['source'] for each in records}))}",
        "training_type": "fine-tuning",
        "geographical_location": ", ".join(unknown if name == "world" else name for name in countries),
        "hardware_used": ", ".join(known),
    }
    return {key: value for key, value in found.items() if value != ""}


def _flat(value: Any) -> Any:
    """The value with every text in one line, without control characters."""
    if isinstance(value, str):
        return markdown.flat(value)
    if isinstance(value, dict):
        return {key: _flat(each) for key, each in value.items()}
    return [_flat(each) for each in value] if isinstance(value, list) else value
