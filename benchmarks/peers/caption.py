"""Captioning with ten prefixes: ours beside the loop over prefixes on transformers, same weights, same images.

The model has BLIP-2's classes with random weights, an eighth or so of the paper's in every direction (widths and depths
a quarter, vocabulary a sixteenth) and its number of patches and queries, so that vision tower, language model and words
cost in proportion. A caption ends after about fifteen tokens, as BLIP-2's do: some of the words end a text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.results import Found, Row, Setup

TITLE = "Captioning"
PACKAGES = ("torch", "transformers")
COLUMNS = {
    "ways": {"way": ("", ""), "seconds": ("s per image", ".3f"), "rate": ("images/s", ".2f")},
    "parts": {"part": ("where our time goes", ""), "share": ("share", ".0%"), "calls": ("calls", ",d")},
}
TEXT = """
The paper's ten prefixes for every one of {images} images, by a model of BLIP-2's classes with random weights, {size},
with all of its {patches} patches and {queries} queries; captions of {words:.0f} words after the prefix; batches of
{batch}. The original's way, in our own words, on transformers: for each prefix the processor, the vision tower, the
Q-Former and `generate`. Ours encodes an image once for all prefixes, and removes finished rows from the batch.

{ways}

{ratios}

{equal} of {captions} captions are equal, word for word.

{parts}
"""
QUERIES, MOST = 32, 50
PIXELS, PATCH = 364, 14
ONE_IN = 24  # words are not equally likely: found by trying, gives captions of fifteen tokens


@dataclass(frozen=True)
class Size:
    """Of each part: width, depth, heads, inner width."""

    vision: tuple[int, int, int, int]
    qformer: tuple[int, int, int, int]
    words: tuple[int, int, int, int]
    vocabulary: int
    says: str


REDUCED = Size(
    (352, 10, 4, 1536), (192, 3, 3, 768), (640, 8, 8, 2560), 3142, "a quarter of blip2-opt-2.7b in width and depth"
)
FULL = Size(
    (1408, 39, 16, 6144), (768, 12, 12, 3072), (2560, 32, 32, 10240), 50272, "of the size of blip2-opt-2.7b, float16"
)


def build(size: Size, device: str) -> Any:
    """A ``Blip2ForConditionalGeneration`` with random weights, spread out so that words differ."""
    import torch
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    words, layers, heads, inner = size.words
    config = Blip2Config(
        vision_config={**dict(zip(names, size.vision, strict=True)), "image_size": PIXELS, "patch_size": PATCH},
        qformer_config={
            **dict(zip(names, size.qformer, strict=True)), "encoder_hidden_size": size.vision[0], "vocab_size": 64,
        },
        text_config=dict(
            model_type="opt", hidden_size=words, word_embed_proj_dim=words, num_hidden_layers=layers, ffn_dim=inner,
            num_attention_heads=heads, max_position_embeddings=2048, vocab_size=size.vocabulary, pad_token_id=1,
            bos_token_id=2, eos_token_id=2, tie_word_embeddings=False,
        ),
        num_query_tokens=QUERIES,
        tie_word_embeddings=False,
        image_token_index=size.vocabulary - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16 if device.startswith("cuda") else torch.float32)
    with torch.device(device):
        model = Blip2ForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        model.language_model.get_input_embeddings().weight.normal_(std=0.5)
    model.language_model.generation_config.eos_token_id = list(range(3, 3 + size.vocabulary // ONE_IN))
    return model


def a_processor(vocabulary: int) -> Any:
    """BLIP-2's processor; its tokenizer knows the words of the prefixes and gives one token to each."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import Blip2Processor, BlipImageProcessor, PreTrainedTokenizerFast

    from capivara_cli.languages.prompts import PREFIXES

    words = dict.fromkeys(" ".join(PREFIXES).split())
    known = {"<unk>": 0, "<pad>": 1, "</s>": 2, "<image>": vocabulary - 1}
    known |= {word: vocabulary - 2 - place for place, word in enumerate(words)}
    known |= {f"w{index}": index for index in range(3, vocabulary - 2 - len(words))}
    core = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", bos_token="</s>", unk_token="<unk>"
    )
    images = BlipImageProcessor(size={"height": PIXELS, "width": PIXELS})
    return Blip2Processor(images, tokenizer, num_query_tokens=QUERIES)


def naive(describe: Any, images: Sequence[Any]) -> list[list[str]]:
    """The original's loop: for every prefix the processor and the whole model, over the whole batch of images."""
    import torch

    from capivara_cli.languages.prompts import PREFIXES

    model, processor = describe.model, describe.processor
    ends = set(model.language_model.generation_config.eos_token_id)  # "\n" in the real one, which strip takes off
    columns = []
    for prefix in PREFIXES:
        inputs = processor(images=list(images), text=[prefix] * len(images), return_tensors="pt", padding=True)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=MOST, do_sample=False, num_beams=1)
        new = [[word for word in row if word not in ends] for row in tokens[:, inputs["input_ids"].shape[1] :].tolist()]
        texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        columns.append([f"{prefix} {text.strip()}".strip() for text in texts])
    return [list(row) for row in zip(*columns, strict=True)]


def ours(describe: Any, images: Sequence[Any]) -> list[list[str]]:
    from capivara_cli.languages.prompts import PREFIXES
    from capivara_cli.models.generation import Draw

    draws = [Draw(prefix) for prefix in PREFIXES]
    return describe([describe.prepare(image) for image in images])([draws] * len(images))


class Clock:
    """Seconds spent in parts of the model, by hooks; a GPU is waited for."""

    def __init__(self, describe: Any) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        model = describe.model
        for name, module in (("vision tower", model.vision_model), ("Q-Former", model.qformer)):
            self._time(name, module)
        self._time("", model.language_model)

    def _time(self, name: str, module: Any) -> None:
        starts: list[float] = []

        def before(*_: Any) -> None:
            starts.append(now())

        def after(_: Any, __: Any, given: dict[str, Any], ___: Any) -> None:
            part = name or (
                "language model, image" if given.get("inputs_embeds") is not None else "language model, words"
            )
            self.seconds[part] = self.seconds.get(part, 0.0) + now() - starts.pop()
            self.calls[part] = self.calls.get(part, 0) + 1

        module.register_forward_pre_hook(lambda *_: before())
        module.register_forward_hook(after, with_kwargs=True)


def now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[..., list[list[str]]], *given: Any) -> tuple[float, list[list[str]]]:
    start = now()
    result = work(*given)
    return now() - start, result


def measure(setup: Setup) -> Found:
    import torch

    from capivara_cli.languages.prompts import PREFIXES
    from capivara_cli.models.generation import Setup as Generation
    from capivara_cli.stages.captioners._blip2 import Blip2Captioner

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = FULL if device == "cuda" else REDUCED
    describe = Blip2Captioner(build(size, device), a_processor(size.vocabulary), "random", Generation(device))
    images = pictures(1 if setup.small else 16)
    batches = [images[start : start + describe.batch_size] for start in range(0, len(images), describe.batch_size)]
    for work in (naive, ours):  # the first call pays for kernels and memory
        work(describe, images[:1])
    slow = fast = 0.0
    texts: list[str] = []
    equal = 0
    for each in batches:  # side by side, so that both meet the same machine
        seconds, theirs = timed(naive, describe, each)
        slow += seconds
        seconds, own = timed(ours, describe, each)
        fast += seconds
        texts += [text for row in own for text in row]
        equal += sum(a == b for left, right in zip(theirs, own, strict=True) for a, b in zip(left, right, strict=True))
    given = sum(len(prefix.split()) for prefix in PREFIXES) / len(PREFIXES)
    rows: list[Row] = [
        {"way": name, "seconds": seconds / len(images), "rate": len(images) / seconds}
        for name, seconds in (("loop over prefixes", slow), ("capivara", fast))
    ]
    facts = {
        "images": len(images), "size": size.says, "patches": (PIXELS // PATCH) ** 2 + 1, "queries": QUERIES,
        "words": sum(len(text.split()) for text in texts) / len(texts) - given, "batch": describe.batch_size,
        "equal": equal, "captions": len(texts),
    }  # fmt: skip
    ratios = {"loop over prefixes / capivara": slow / fast}
    return Found({"ways": rows, "parts": parts(describe, batches)}, ratios, facts)


def parts(describe: Any, batches: Sequence[Sequence[Any]]) -> list[Row]:
    """Where our time goes."""
    clock = Clock(describe)
    whole = sum(timed(ours, describe, each)[0] for each in batches)
    rows: list[Row] = [
        {"part": part, "share": seconds / whole, "calls": clock.calls[part]} for part, seconds in clock.seconds.items()
    ]
    rest = 1 - sum(clock.seconds.values()) / whole
    return [*rows, {"part": "the rest (pixels, choosing, copying)", "share": rest}]


def pictures(count: int) -> list[Any]:
    """Noise of 500 by 375 pixels: what is in them decides nothing."""
    import torch
    from PIL import Image

    source = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (count, 375, 500, 3), generator=source, dtype=torch.uint8)
    return [Image.fromarray(each.numpy()) for each in noise]
