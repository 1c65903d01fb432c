"""The section of a model card that says how to load the model, from a run folder or from the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass

from capivara_cli.models.run_document import RunDocument
from capivara_cli.reports import markdown

PEFT_METHODS = ("lora", "layernorm")
"""Methods whose adapter peft itself can load."""
UNMERGEABLE = ("adapter", "compacter", "soft-prompt")


@dataclass(frozen=True)
class ExportedForms:
    """What lies beside a card: the ``forms`` of the model (open-clip, peft, hf), none in a run folder.

    ``repo``: the name of the repository on the hub.
    """

    forms: tuple[str, ...] = ()
    repo: str = "ORG/NAME"


RUN_FOLDER = ExportedForms()


def library(run: RunDocument, exported: ExportedForms) -> str:
    """The library under which the hub lists the model."""
    if "open-clip" in exported.forms:
        return "open_clip"
    if "hf" in exported.forms:
        return "sentence-transformers"
    return "peft" if run["parameters"]["method"] in PEFT_METHODS else "open_clip"


def loading(run: RunDocument, exported: ExportedForms) -> str:
    """How to load each form of the model, and whether queries have to be translated first."""
    ways = [_FORMS[form](run, exported) for form in exported.forms] if exported.forms else _of_run(run)
    if run.get("translate_queries"):
        ways.append(
            f"Translate queries into {markdown.escaped(run['translate_queries'])} first: the model was trained on "
            "translated queries."
        )
    return "\n\n".join(ways)


def _base(run: RunDocument) -> str:
    source = run["base"]["source"]
    return f"{source['model']} {source['pretrained']}".rstrip()


def _of_run(run: RunDocument) -> list[str]:
    method = run["parameters"]["method"]
    ways = ["- capivara: `capivara eval THIS_FOLDER SHARDS`"]
    if method in PEFT_METHODS:
        ways.append(
            f"- peft, on open_clip's {markdown.escaped(_base(run))}: "
            "`model.text = PeftModel.from_pretrained(model.text, 'THIS_FOLDER/adapter')`, then set `model.logit_scale` "
            "to the value above"
        )
    if method not in UNMERGEABLE:
        ways.append(
            "- open_clip: `capivara export THIS_FOLDER --out DIR`, then "
            "`create_model_and_transforms('local-dir:DIR')`; "
            "`capivara export THIS_FOLDER --hf DIR` writes a folder for the Hugging Face hub"
        )
    return ["\n".join(ways)]


def _open_clip(run: RunDocument, exported: ExportedForms) -> str:
    return f"""\
With open_clip, adapter merged into the weights; for capivara, give the same name to `--model`:

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("hf-hub:{exported.repo}")
tokenizer = open_clip.get_tokenizer("hf-hub:{exported.repo}")
texts = model.encode_text(tokenizer(["…"]), normalize=True)
images = model.encode_image(preprocess(image)[None], normalize=True)
```"""


def _hf(run: RunDocument, exported: ExportedForms) -> str:
    return f"""\
With sentence-transformers and transformers:

```python
from huggingface_hub import snapshot_download
from sentence_transformers import SentenceTransformer
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

folder = snapshot_download("{exported.repo}")
texts = SentenceTransformer(f"{{folder}}/text").encode(["…"])  # L2-normalised
processor = CLIPImageProcessor.from_pretrained(f"{{folder}}/image")
tower = CLIPVisionModelWithProjection.from_pretrained(f"{{folder}}/image")
images = tower(**processor(image, return_tensors="pt")).image_embeds  # not normalised
```"""


def _peft(run: RunDocument, exported: ExportedForms) -> str:
    return f"""\
The adapter alone, with peft, on open_clip's {markdown.escaped(_base(run))} as `model`:

```python
import torch
from peft import PeftModel

model.text = PeftModel.from_pretrained(model.text, "{exported.repo}", subfolder="adapter")
model.logit_scale.data = torch.tensor({run["logit_scale"]!r})
```"""


_FORMS = {"open-clip": _open_clip, "hf": _hf, "peft": _peft}
