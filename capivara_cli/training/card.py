"""The model card of a run, written from what the run knows about itself."""

from __future__ import annotations

import json
from typing import Any

from capivara_cli.console import printable

_LIMITS = """\
The image tower is that of the base model, with all its biases. Synthetic captions describe what a captioner saw and
translations what a translator understood: mistakes of both were learned. Evaluate on human-written captions of the
language before relying on it; `eval.json` and `footprint.json`, where present, hold what was measured."""


_METHODS = {
    "lora": "the image tower is frozen, low-rank updates of the text tower (LoRA, arXiv 2106.09685) are trained",
    "adapter": "the image tower is frozen, bottleneck adapters in the text tower (arXiv 1902.00751) are trained",
    "compacter": "the image tower is frozen, hypercomplex adapters in the text tower (arXiv 2106.04647) are trained",
    "soft-prompt": "both towers are frozen, learned vectors before every text (arXiv 2104.08691) are trained",
    "layernorm": "the image tower is frozen, the LayerNorms of the text tower are trained",
    "lit": "the image tower is frozen, the whole text tower is trained (LiT, arXiv 2111.07991)",
    "full": "both towers are trained",
}
_TERMS = {
    "clip": "symmetric InfoNCE between images and captions (arXiv 2103.00020)",
    "siglip": "sigmoid loss between images and captions (arXiv 2303.15343)",
    "align": "alignment of texts (arXiv 2305.03510)",
    "distill": "distillation from a teacher's text embeddings",
    "drift": "distance of kept captions to the base model's embeddings",
}


def model_card(run: dict[str, Any]) -> str:
    """Markdown with the front matter the Hugging Face hub reads, from the contents of ``run.json``."""
    request, base, data, result = run["request"], run["base"], run["data"], run["result"]
    languages = request["lang"].split(",")
    method = run["parameters"]["method"]
    library = "peft" if method in ("lora", "layernorm") else "open_clip"
    front = [
        "---",
        f"library_name: {library}",
        f"tags: [clip, {method}, capivara]",
        f"language: [{', '.join(languages)}]",
        "---",
    ]
    return "\n".join(
        [
            *front,
            "",
            f"# {run['name']}: {base['identity']['model']} for {', '.join(languages)}",
            "",
            "A CLIP model whose text tower was adapted to another language by the CAPIVARA method (arXiv 2310.13683): "
            f"{_METHODS[method]}.",
            "",
            *_section("Model", _model(run)),
            *_section("Training data", _data(data)),
            *_section("Training", _training(run)),
            *_section("How the data was made", _history(run["history"])),
            *_section("How to load it", _loading(run)),
            "## Limits",
            "",
            _LIMITS,
            "",
            f"Loss: {result['loss_first']:.4f} at the first step, {result['loss_last']:.4f} at the last.",
            "",
        ]
    )


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {printable(line)}" for line in lines), ""]


def _model(run: dict[str, Any]) -> list[str]:
    request, base, parameters = run["request"], run["base"], run["parameters"]
    parts = [f"{count:,} {name}" for name, count in parameters["parts"].items() if count]
    return [
        f"base: {base['source']['model']} {base['source']['pretrained']}".rstrip(),
        f"image tower: {base['identity']['weights']}, {base['identity']['preprocess']}",
        f"{parameters['method']}: {_settings(request, parameters['targets'])}",
        f"trained: {parameters['trainable']:,} of {parameters['total']:,} parameters "
        f"({parameters['percent']:.2f} %): {', '.join(parts)}",
        f"temperature: logit scale {run['logit_scale']:.4f}",
    ]


def _settings(request: dict[str, Any], targets: list[str]) -> str:
    """What was chosen of the method's own options."""
    if request["continue_from"]:
        return f"as in {request['continue_from']}, which it started from"
    return {
        "lora": f"rank {request['lora_r']}, alpha {request['lora_alpha']:g}, dropout {request['lora_dropout']:g}, "
        f"on {', '.join(targets)}",
        "adapter": f"bottleneck of {request['adapter_dim']}",
        "compacter": f"reduction {request['compacter_reduction']}, {request['phm_dim']} Kronecker products",
        "soft-prompt": f"{request['prompt_tokens']} vectors",
    }.get(request["peft"], "everything in it")


def _data(data: dict[str, Any]) -> list[str]:
    captions = [f"{count:,} captions in {language}" for language, count in data["captions"].items()]
    authors = [f"{count:,} in {language} by {author}" for language, author, count in data["authors"]]
    return [f"{data['samples']:,} images", *captions, *authors, data["fingerprint"]]


def _training(run: dict[str, Any]) -> list[str]:
    request, batch = run["request"], run["batch"]
    kept = f", {batch['kept']} of them in {request['keep_lang']}" if batch["kept"] else ""
    return [
        f"{run['step']:,} steps of {batch['size']:,} pairs{kept}",
        *(f"{weight:g} · {_TERMS[name]}" for name, weight in run["objective"].items()),
        f"{request['optimizer']}, learning rate {request['lr']:g} to {request['min_lr']:g} (cosine), "
        f"{batch['warmup']} steps of warm-up, weight decay {request['weight_decay']:g}",
        f"numbers of frozen weights: {batch['precision']}",
        f"seed {request['seed']}; {', '.join(f'{name} {version}' for name, version in run['versions'].items())}",
    ]


def _history(history: list[dict[str, Any]]) -> list[str]:
    if not history:
        return ["shards that were not made by capivara"]
    return [
        f"`{step.get('step', '?')}` {json.dumps(step.get('options', {}), ensure_ascii=False)}".rstrip()
        for step in history
    ]


def _loading(run: dict[str, Any]) -> list[str]:
    base, method = run["base"], run["parameters"]["method"]
    name = f"{base['source']['model']} {base['source']['pretrained']}".rstrip()
    ways = ["capivara: `capivara eval THIS_FOLDER SHARDS`"]
    if method in ("lora", "layernorm"):
        ways.append(
            f"peft, on open_clip's {name}: `model.text = PeftModel.from_pretrained(model.text, 'THIS_FOLDER/adapter')`"
            ", and set `model.logit_scale` to the value above"
        )
    if method not in ("adapter", "compacter", "soft-prompt"):
        ways.append(
            "open_clip: `capivara export THIS_FOLDER --to DIR`, then `create_model_and_transforms('local-dir:DIR')`"
        )
    if run.get("translate_queries"):
        ways.append(f"queries have to be translated into {run['translate_queries']} first: it was trained on such")
    return ways
