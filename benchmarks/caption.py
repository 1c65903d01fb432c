"""Captioning with ten prefixes: ours beside the loop over prefixes on transformers, same weights, same images, one run.

python benchmarks/caption.py [IMAGES] [--full] [--folder PHOTOS]

The model has BLIP-2's classes with random weights, an eighth or so of the paper's in every direction (widths and depths
a quarter, vocabulary a sixteenth) and its number of patches and queries, so that vision tower, language model and words
cost in proportion; ``--full`` has the size of blip2-opt-2.7b-coco (for a GPU). A caption ends after about fifteen
tokens, as BLIP-2's do: some of the words end a text. Prints seconds, ratios and where our time goes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from capivara_cli.captioners._blip2 import Blip2Captioner
from capivara_cli.captioners._prompts import PREFIXES
from capivara_cli.generation import Draw, Setup

QUERIES, MOST = 32, 50
ONE_IN = 24  # words are not equally likely: found by trying, gives captions of fifteen tokens
SIZES = {  # vision: width, depth, heads, inner width; language: the same; vocabulary
    "reduced": ((352, 10, 4, 1536), (640, 8, 8, 2560), 3142),
    "full": ((1408, 39, 16, 6144), (2560, 32, 32, 10240), 50272),
}


def build(size: str, device: str) -> Any:
    """A ``Blip2ForConditionalGeneration`` with random weights, spread out so that words differ."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    (width, depth, heads, inner), (words, layers, many, wide), vocabulary = SIZES[size]
    config = Blip2Config(
        vision_config=dict(
            hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=inner,
            image_size=364, patch_size=14,
        ),
        qformer_config=dict(
            hidden_size=768 if size == "full" else 192, num_hidden_layers=12 if size == "full" else 3,
            num_attention_heads=12 if size == "full" else 3, intermediate_size=3072 if size == "full" else 768,
            encoder_hidden_size=width, vocab_size=30523 if size == "full" else 64,
        ),
        text_config=dict(
            model_type="opt", hidden_size=words, word_embed_proj_dim=words, num_hidden_layers=layers, ffn_dim=wide,
            num_attention_heads=many, max_position_embeddings=2048, vocab_size=vocabulary, pad_token_id=1,
            bos_token_id=2, eos_token_id=2, tie_word_embeddings=False,
        ),
        num_query_tokens=QUERIES,
        tie_word_embeddings=False,
        image_token_index=vocabulary - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16 if device.startswith("cuda") else torch.float32)
    with torch.device(device):
        model = Blip2ForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        model.language_model.get_input_embeddings().weight.normal_(std=0.5)
    model.language_model.generation_config.eos_token_id = list(range(3, 3 + vocabulary // ONE_IN))
    return model


def a_processor(vocabulary: int) -> Any:
    """BLIP-2's processor; its tokenizer knows the words of the prefixes and gives one token to each."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import Blip2Processor, BlipImageProcessor, PreTrainedTokenizerFast

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
    images = BlipImageProcessor(size={"height": 364, "width": 364})
    return Blip2Processor(images, tokenizer, num_query_tokens=QUERIES)


@torch.inference_mode()
def naive(describe: Blip2Captioner, images: Sequence[Image.Image]) -> list[list[str]]:
    """The original's loop: for every prefix the processor and the whole model, over the whole batch of images."""
    model, processor = describe.model, describe.processor
    columns = []
    for prefix in PREFIXES:
        inputs = processor(images=list(images), text=[prefix] * len(images), return_tensors="pt", padding=True)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        tokens = model.generate(**inputs, max_new_tokens=MOST, do_sample=False, num_beams=1)
        ends = set(model.language_model.generation_config.eos_token_id)  # "\n" in the real one, which strip takes off
        new = [[word for word in row if word not in ends] for row in tokens[:, inputs["input_ids"].shape[1] :].tolist()]
        texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
        columns.append([f"{prefix} {text.strip()}".strip() for text in texts])
    return [list(row) for row in zip(*columns, strict=True)]


def ours(describe: Blip2Captioner, images: Sequence[Image.Image]) -> list[list[str]]:
    return describe([describe.prepare(image) for image in images])(
        [[Draw(prefix) for prefix in PREFIXES]] * len(images)
    )


class Clock:
    """Seconds spent in parts of the model, by hooks; a GPU is waited for."""

    def __init__(self, describe: Blip2Captioner) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.tokens = 0
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
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[..., list[list[str]]], *given: Any) -> tuple[float, list[list[str]]]:
    start = now()
    result = work(*given)
    return now() - start, result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="?", type=int, default=16)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--folder", default="", help="photos; without it, noise of 500 by 375 pixels")
    parser.add_argument("--batch", type=int, default=0)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = "full" if arguments.full else "reduced"
    model = build(size, device)
    describe = Blip2Captioner(model, a_processor(SIZES[size][2]), "random", Setup(device))
    images = pictures(arguments.images, arguments.folder)
    batch = arguments.batch or describe.batch_size
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
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
    clock = Clock(describe)
    profiled = sum(timed(ours, describe, each)[0] for each in batches)
    given = sum(len(prefix.split()) for prefix in PREFIXES) / len(PREFIXES)
    words = sum(len(text.split()) for text in texts) / len(texts) - given
    print(
        f"{size}, {device}, {len(images)} images x {len(PREFIXES)} prefixes, batches of {batch}; "
        f"{words:.1f} words after a prefix"
    )
    print(f"{equal} of {len(texts)} captions equal\n")
    print("| | s per image | images/s | ratio |\n|---|---|---|---|")
    for name, seconds in (("loop over prefixes", slow), ("capivara", fast)):
        print(f"| {name} | {seconds / len(images):.3f} | {len(images) / seconds:.2f} | {slow / seconds:.1f}x |")
    print("\n| where our time goes | share | calls |\n|---|---|---|")
    for part, seconds in clock.seconds.items():
        print(f"| {part} | {seconds / profiled:.0%} | {clock.calls[part]} |")
    print(f"| the rest (pixels, choosing, copying) | {1 - sum(clock.seconds.values()) / profiled:.0%} | |")


def pictures(count: int, folder: str) -> list[Image.Image]:
    if folder:
        files = sorted(Path(folder).rglob("*.jpg"))[:count]
        return [Image.open(file).convert("RGB") for file in files]
    source = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (count, 375, 500, 3), generator=source, dtype=torch.uint8)
    return [Image.fromarray(each.numpy()) for each in noise]


if __name__ == "__main__":
    main()
