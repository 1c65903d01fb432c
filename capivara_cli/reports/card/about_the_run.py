"""The sections of a model card about what the model is, how it was made, and what to mind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from capivara_cli import languages
from capivara_cli.evaluation.results import EvalResults
from capivara_cli.pipeline.typed import steps_of
from capivara_cli.reports import markdown

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

The base model and the data have authors of their own; cite them too."""


def opening(run: dict[str, Any]) -> str:
    """What it is, in a sentence."""
    return (
        "A CLIP model whose text tower was adapted to another language by the CAPIVARA method (arXiv 2310.13683): "
        f"{_METHODS[run['parameters']['method']]}.\n"
    )


def details(run: dict[str, Any]) -> str:
    """The base, what was tuned, and by what."""
    request, base, parameters = run["request"], run["base"], run["parameters"]
    parts = [f"{count:,} {name}" for name, count in parameters["parts"].items() if count]
    return _listed(
        [
            f"languages: {_names(_taught(run))}",
            f"base: {_base(run)}",
            f"image tower: {base['identity']['weights']}, {base['identity']['preprocess']}",
            f"{parameters['method']}: {_settings(request, parameters['targets'])}",
            f"trained: {parameters['trainable']:,} of {parameters['total']:,} parameters "
            f"({parameters['percent']:.2f} %): {', '.join(parts)}",
            f"temperature: logit scale {run['logit_scale']:.4f}",
            "licence: not chosen yet; that of the base model and those of the data bind whoever chooses one",
            f"made with: {', '.join(f'{name} {version}' for name, version in run['versions'].items())}",
        ]
    )


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


def intended_use(run: dict[str, Any]) -> str:
    """Uses, users, and what it is not for."""
    named = markdown.escaped(_names(_taught(run)))
    return f"""\
- **Primary uses**: finding images by a text in {named} and texts by an image, and zero-shot classification of images
  with class names in {named}; research on vision and language in languages with little data.
- **Primary users**: people who do research on, or build for, {named}.
- **Out of scope**: languages that it was neither taught nor evaluated in; surveillance, face recognition and any
  inference about people; decisions about people; deployment without an evaluation on data of the place and purpose."""


def factors(run: dict[str, Any], own: EvalResults) -> str:
    """Languages, culture and image domains: what results may depend on."""
    evaluated = list(dict.fromkeys(row.lang for row in own.scored if row.lang))
    sets = list(dict.fromkeys(row.set for row in own.scored))
    kept = run["request"].get("keep_lang", "").split(",") if run["batch"]["kept"] else []
    lines = [f"taught: {_names(_taught(run))}" + (f"; kept by rehearsal: {_names(kept)}" if kept else "")]
    lines.append(f"evaluated in: {_names(evaluated) if evaluated else 'no language yet'}")
    lines.append(
        "culture: images and captions come from where the training data come from; a translated caption speaks another "
        "language, but of what its source chose to show and to name"
    )
    lines.append(
        "domains of images: those of the base model and of the training data"
        + (f"; evaluated on {', '.join(sets)}" if sets else "; evaluated on none yet")
    )
    return _listed(lines)


def data(described: dict[str, Any]) -> str:
    """Images, captions by language, and who wrote them."""
    captions = [f"{count:,} captions in {language}" for language, count in described["captions"].items()]
    authors = [f"{count:,} in {language} by {author}" for language, author, count in described["authors"]]
    held = [f"{described['heldout']:,} images held out for validation"] if described.get("heldout") else []
    return _listed([f"{described['samples']:,} images", *captions, *authors, *held, described["fingerprint"]])


def ethics(run: dict[str, Any]) -> str:
    """What it inherits, and from whom."""
    full = run["parameters"]["method"] == "full"
    lines = [
        f"The image tower {'was trained further from that' if full else 'is that'} of the base model, and the text "
        "tower started from the base's: their biases about people, places and cultures are inherited; the run did not "
        "measure them."
    ]
    steps = {step.get("step") for step in run["history"]}
    if steps & {"caption", "rewrite"}:
        lines.append(
            "Synthetic captions describe what a captioner saw: its mistakes and stereotypes were learned, too."
        )
    if "translate" in steps:
        lines.append("Translations say what a translator understood: its mistakes and stereotypes were learned, too.")
    lines.append(
        "Whether people in the images agreed to their use, and what the licences of the data allow, is a question to "
        "the sources of the data: the run does not know."
    )
    return _listed(lines)


def caveats(run: dict[str, Any]) -> str:
    """What to do before relying on it."""
    lines = [
        "Evaluate on captions that people wrote in the language before relying on the model: captions that a machine "
        "wrote or translated may resemble those it was taught with.",
        "Scores hold for the sets above; the interval says what other images of the same kind could change, not what "
        "another kind of image would.",
    ]
    if run["parameters"]["method"] == "full":
        lines.append("Embeddings of images by the base model do not fit: the image tower was trained too.")
    else:
        lines.append("Embeddings of images by the base model stay valid: the image tower is the same.")
    return _listed(lines)


def procedure(run: dict[str, Any]) -> str:
    """Steps, objective, schedule, precision, and where the loss went."""
    request, batch, result = run["request"], run["batch"], run["result"]
    kept = f", {batch['kept']} of them in {request['keep_lang']}" if batch["kept"] else ""
    lines = [
        f"{run['step']:,} steps of {batch['size']:,} pairs{kept}",
        *(f"{weight:g} · {_TERMS[name]}" for name, weight in run["objective"].items()),
        f"{request['optimizer']}, learning rate {request['lr']:g} to {request['min_lr']:g} (cosine), "
        f"{batch['warmup']} steps of warm-up, weight decay {request['weight_decay']:g}",
        f"numbers of frozen weights: {batch['precision']}",
        f"seed {request['seed']}",
        f"loss: {result['loss_first']:.4f} at the first step, {result['loss_last']:.4f} at the last",
    ]
    if result.get("val"):
        lines.append(
            f"best on what was held out: step {result['best_step']:,}, mean recall {result['val']['mean']:.1f}"
        )
    return _listed(lines)


def history(steps: list[dict[str, Any]]) -> str:
    """The commands that made the shards, with the options that were not left as they are."""
    if not steps:
        return _listed(["shards that were not made by capivara"])
    return "\n".join(f"- {markdown.code(step)}" for step in steps_of(steps))


def _taught(run: dict[str, Any]) -> list[str]:
    return str(run["request"]["lang"]).split(",")


def _base(run: dict[str, Any]) -> str:
    source = run["base"]["source"]
    return f"{source['model']} {source['pretrained']}".rstrip()


def _names(codes: Iterable[str]) -> str:
    return ", ".join(f"{languages.get(code).name} ({code})" if languages.knows(code) else code for code in codes)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown.escaped(line)}" for line in lines)
