"""The sections of a model card about the model itself: what it is, how it was trained, and its limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from capivara_cli import languages
from capivara_cli.evaluation.results import EvalResults
from capivara_cli.models.run_document import Data, RunDocument, trained_languages
from capivara_cli.pipeline.command_text import step_texts
from capivara_cli.reports import markdown
from capivara_cli.shards.history import History

_METHODS = {
    "lora": "the image tower is frozen, low-rank updates of the text tower (LoRA, arXiv 2106.09685) are trained",
    "adapter": "the image tower is frozen, bottleneck adapters in the text tower (arXiv 1902.00751) are trained",
    "compacter": "the image tower is frozen, hypercomplex adapters in the text tower (arXiv 2106.04647) are trained",
    "soft-prompt": "both towers are frozen, vectors that stand before every text (arXiv 2104.08691) are trained",
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
CITATION = """\
The method:

```bibtex
@misc{santos2023capivara,
  title  = {{CAPIVARA}: Cost-Efficient Approach for Improving Multilingual {CLIP} Performance on
            Low-Resource Languages},
  author = {Santos, Gabriel Oliveira dos and Moreira, Diego A. B. and Ferreira, Alef Iury and Silva, Jhessica and
            Pereira, Luiz and Bueno, Pedro and Sousa, Thiago and Maia, Helena and Silva, N{\\'a}dia da and
            Colombini, Esther and Pedrini, Helio and Avila, Sandra},
  year   = {2023},
  eprint = {2310.13683},
  archivePrefix = {arXiv}
}
```

Please also cite the authors of the base model and of the data."""


def opening(run: RunDocument) -> str:
    """What the model is, in one sentence."""
    return (
        "A CLIP model whose text tower was adapted to another language by the CAPIVARA method (arXiv 2310.13683): "
        f"{_METHODS[run['parameters']['method']]}.\n"
    )


def details(run: RunDocument) -> str:
    """Languages, base model, tuning method, number of parameters, licence and versions."""
    request, base, parameters = run["request"], run["base"], run["parameters"]
    parts = [f"{count:,} {name}" for name, count in parameters["parts"].items() if count]
    return markdown.bullet_list(
        [
            f"languages: {_names(trained_languages(run['request']))}",
            f"base: {_base(run)}",
            f"image tower: {base['identity']['weights']}, {base['identity']['preprocess']}",
            f"{parameters['method']}: {_settings(request, parameters['targets'])}",
            f"trained: {parameters['trainable']:,} of {parameters['total']:,} parameters "
            f"({parameters['percent']:.2f} %): {', '.join(parts)}",
            f"temperature: logit scale {run['logit_scale']:.4f}",
            "licence: not chosen yet; it has to agree with the licences of the base model and of the data",
            f"made with: {', '.join(f'{name} {version}' for name, version in run['versions'].items())}",
        ]
    )


def _settings(request: Mapping[str, Any], targets: Sequence[str]) -> str:
    """The options of the tuning method."""
    if request["continue_from"]:
        return f"as in {request['continue_from']}, from which training continued"
    return {
        "lora": f"rank {request['lora_r']}, alpha {request['lora_alpha']:g}, dropout {request['lora_dropout']:g}, "
        f"on {', '.join(targets)}",
        "adapter": f"bottleneck of {request['adapter_dim']}",
        "compacter": f"reduction {request['compacter_reduction']}, {request['phm_dim']} Kronecker products",
        "soft-prompt": f"{request['prompt_tokens']} vectors",
    }.get(request["peft"], "all of its parameters")


def intended_use(run: RunDocument) -> str:
    """Primary uses, primary users, and uses that are out of scope."""
    named = markdown.escaped(_names(trained_languages(run["request"])))
    return f"""\
- **Primary uses**: finding images by a text in {named} and texts by an image, and zero-shot classification of images
  with class names in {named}; research on vision and language in languages with little data.
- **Primary users**: people who do research on {named}, or build tools for its speakers.
- **Out of scope**: languages in which it was neither trained nor evaluated; surveillance, face recognition and any
  inference about people; decisions about people; use without an evaluation on data of the place and purpose."""


def factors(run: RunDocument, own: EvalResults) -> str:
    """What results may depend on: languages, culture and kinds of images."""
    evaluated = list(dict.fromkeys(row.lang for row in own.scored if row.lang))
    sets = list(dict.fromkeys(row.set for row in own.scored))
    request = run["request"]
    kept = trained_languages(request, "keep_lang") if run["batch"]["kept"] else []
    trained = f"trained: {_names(trained_languages(request))}"
    lines = [trained + (f"; kept by training on them as well: {_names(kept)}" if kept else "")]
    lines.append(f"evaluated in: {_names(evaluated) if evaluated else 'no language yet'}")
    lines.append(
        "culture: images and captions reflect the places that the training data come from; translating a caption "
        "changes its language, not what its author chose to describe"
    )
    lines.append(
        "domains of images: those of the base model and of the training data"
        + (f"; evaluated on {', '.join(sets)}" if sets else "; evaluated on none yet")
    )
    return markdown.bullet_list(lines)


def data(trained_on: Data) -> str:
    """The number of images, captions by language, and captions by author."""
    captions = [f"{count:,} captions in {language}" for language, count in trained_on["captions"].items()]
    authors = [f"{count:,} in {language} by {author}" for language, author, count in trained_on["authors"]]
    held = [f"{trained_on['heldout']:,} images held out for validation"] if trained_on.get("heldout") else []
    return markdown.bullet_list(
        [f"{trained_on['samples']:,} images", *captions, *authors, *held, trained_on["fingerprint"]]
    )


def ethics(run: RunDocument) -> str:
    """The biases it inherits from base model, captioner and translator, and open questions about the data."""
    full = run["parameters"]["method"] == "full"
    lines = [
        f"The image tower {'was trained further from that' if full else 'is that'} of the base model, and the text "
        "tower was trained further from the base model's. The model inherits their biases about people, places and "
        "cultures, which this run did not measure."
    ]
    steps = {step.get("step") for step in run["history"]}
    if steps & {"caption", "rewrite"}:
        lines.append(
            "Synthetic captions contain mistakes and stereotypes of the captioner, and the model has learned from them."
        )
    if "translate" in steps:
        lines.append(
            "Translations contain mistakes and stereotypes of the translator, and the model has learned from them."
        )
    lines.append(
        "Ask the sources of the data whether people in the images agreed to their use, and what the licences allow: "
        "the run does not record it."
    )
    return markdown.bullet_list(lines)


def caveats(run: RunDocument) -> str:
    """What to do before relying on the model."""
    lines = [
        "Before relying on the model, evaluate it on captions that people wrote in the language: captions that a "
        "machine wrote or translated may resemble its training data.",
        "Scores hold for the sets above. Their intervals cover other images of the same kind, but no other kinds of "
        "images.",
    ]
    if run["parameters"]["method"] == "full":
        lines.append("Image embeddings of the base model do not fit this model: its image tower was trained too.")
    else:
        lines.append("Image embeddings of the base model stay valid: the image tower is the same.")
    return markdown.bullet_list(lines)


def procedure(run: RunDocument) -> str:
    """Steps, objective, learning rates, precision, seed and losses."""
    request, batch, result = run["request"], run["batch"], run["result"]
    kept = f", {batch['kept']} of them in {request['keep_lang']}" if batch["kept"] else ""
    lines = [
        f"{run['step']:,} steps of {batch['size']:,} pairs{kept}",
        *(f"{weight:g} · {_TERMS[name]}" for name, weight in run["objective"].items()),
        f"{request['optimizer']}, learning rate {request['lr']:g} to {request['min_lr']:g} (cosine), "
        f"{batch['warmup']} steps of warm-up, weight decay {request['weight_decay']:g}",
        f"precision of frozen weights: {batch['precision']}",
        f"seed {request['seed']}",
        f"loss: {result['loss_first']:.4f} at the first step, {result['loss_last']:.4f} at the last",
    ]
    if validation := result.get("val"):
        lines.append(f"best validation: step {result['best_step']:,}, mean recall {validation['mean']:.1f}")
    return markdown.bullet_list(lines)


def history(steps: History) -> str:
    """The commands that made the shards, with the options that differ from the defaults."""
    if not steps:
        return markdown.bullet_list(["the shards were not made by capivara"])
    return "\n".join(f"- {markdown.code(step)}" for step in step_texts(steps))


def _base(run: RunDocument) -> str:
    source = run["base"]["source"]
    return f"{source['model']} {source['pretrained']}".rstrip()


def _names(codes: Iterable[str]) -> str:
    return ", ".join(f"{languages.get(code).name} ({code})" if languages.knows(code) else code for code in codes)
