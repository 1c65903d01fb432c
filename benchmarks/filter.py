"""Scoring 12 captions of each image: the original's way, data-juicer's filter and ours, side by side in one run.

    python benchmarks/filter.py --photos ../shared/data/photos                    # about 10 minutes on two cores
    python benchmarks/filter.py --photos … --data-juicer VENV/bin/python          # with py-data-juicer in a venv

The model is xlm-roberta-base-ViT-B-32 at full size with random weights; data-juicer's, which has to be Hugging Face's
CLIP, has towers of the same sizes. The original's way, in our own words: one image and its captions, padded to 77
tokens, per forward, float32, nothing prepared ahead. data-juicer: a sample of 12 chunks, each the image and one
caption, so its filter runs the towers 12 times. Ours is the stage as the command runs it, from encoded images to
scored samples. The ways take turns, each on images of its own rounds; seconds per image are the median of the rounds,
CPU seconds those of all threads. Captions are the six of each photo, and these with prefixes of the paper.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

PREFIXES = ("a photo of", "this is a scene depicting", "an image of", "the picture shows", "a painting of", "an art of")
CAPTIONS = 12
WIDTH, LAYERS, HEADS, INNER, DIM = 768, 12, 12, 3072, 512
WAYS = {
    "original": (6, "the original's way"),
    "data-juicer": (2, "data-juicer, image_text_similarity_filter"),
    "fp32": (24, "capivara filter --precision fp32"),
    "bf16": (48, "capivara filter, in bf16"),
}
"""Images per round."""


@dataclass
class Photo:
    """One image with its twelve captions."""

    path: Path
    captions: list[tuple[str, str]] = field(default_factory=list)

    def sample(self) -> Any:
        from capivara_cli.sample import Caption, Sample, encode_json

        captions = [Caption(text, lang, "alt").to_json() for text, lang in self.captions]
        return Sample(self.path.stem, {"jpg": self.path.read_bytes(), "json": encode_json({"captions": captions})})


def photos_in(folder: Path) -> list[Photo]:
    found: dict[str, Photo] = {}
    with (folder / "captions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            photo = found.setdefault(row["image"], Photo(folder / row["image"]))
            photo.captions.append((row["caption"], row["lang"]))
    for photo in found.values():
        own = list(photo.captions)
        said = [(f"{prefix} {own[place % len(own)][0]}", "en") for place, prefix in enumerate(PREFIXES)]
        photo.captions = (own + said)[:CAPTIONS]
    return list(found.values())


def make_model(folder: Path, photos: list[Photo]) -> None:
    """The full-size model, with a tokenizer that cuts the captions into subwords."""
    import train_step
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    train_step.make_model(folder)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator((text for photo in photos for text, _ in photo.captions), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


class OriginalWay:
    """One image and its captions per forward."""

    def __init__(self, clip: Any) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.clip = clip
        self.transform = image_transform_v2(PreprocessCfg(**clip.model.visual.preprocess_cfg), is_train=False)

    def __call__(self, photos: list[Photo]) -> list[list[float]]:
        import torch
        from PIL import Image

        scores = []
        for photo in photos:
            image = self.transform(Image.open(io.BytesIO(photo.path.read_bytes())).convert("RGB"))[None]
            tokens = self.clip.tokenizer([text for text, _ in photo.captions])
            with torch.no_grad():
                found = self.clip.model.encode_image(image, normalize=True)
                said = self.clip.model.encode_text(tokens, normalize=True)
                scores.append((said @ found[0]).tolist())
        return scores


class Ours:
    """The stage, as the command runs it."""

    def __init__(self, clip: Any, precision: str) -> None:
        from capivara_cli.stages.filter import Options

        self.clip = clip
        self.options = Options(model="full", precision=precision)  # type: ignore[arg-type]

    def __call__(self, photos: list[Photo]) -> list[list[float]]:
        from capivara_cli.stage import Env, Settings
        from capivara_cli.stages.filter import filter as stage

        env = Env(Settings(device="cpu"), "filter", {("clip", "full", "", "cpu"): self.clip})
        samples = stage.run((photo.sample() for photo in photos), self.options, env)
        return [[each.score or 0.0 for each in sample.captions] for sample in samples]


class DataJuicer:
    """Its filter in a process of its own: it cannot be installed beside our versions."""

    def __init__(self, python: str, folder: Path, photos: list[Photo]) -> None:
        texts = folder / "captions.json"
        texts.write_text(json.dumps([text for photo in photos for text, _ in photo.captions]))
        self.process = subprocess.Popen(
            [python, __file__, "--serve", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        self._read()

    def __call__(self, photos: list[Photo]) -> tuple[list[list[float]], float, float]:
        assert self.process.stdin is not None
        given = [{"image": str(photo.path), "captions": [text for text, _ in photo.captions]} for photo in photos]
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        return answer["scores"], answer["wall"], answer["cpu"]

    def _read(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit("data-juicer's process ended")


def serve(folder: Path) -> None:
    """Run by the interpreter that has py-data-juicer: a line of samples in, a line of scores out."""
    make_their_model(folder / "clip", json.loads((folder / "captions.json").read_text()))
    from data_juicer.ops.filter.image_text_similarity_filter import ImageTextSimilarityFilter
    from data_juicer.utils.constant import Fields, StatsKeys
    from data_juicer.utils.mm_utils import SpecialTokens

    filtering = ImageTextSimilarityFilter(hf_clip=str(folder / "clip"), min_score=-1.0, max_score=1.0)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        batch = {
            "text": [
                f" {SpecialTokens.eoc} ".join(f"{SpecialTokens.image} {text}" for text in each["captions"])
                for each in given
            ],
            "images": [[each["image"]] * len(each["captions"]) for each in given],
            Fields.stats: [{} for _ in given],
        }
        wall, cpu = time.perf_counter(), time.process_time()
        batch = filtering.compute_stats_batched(batch)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        scores = [list(map(float, each[StatsKeys.image_text_similarity])) for each in batch[Fields.stats]]
        print(json.dumps({"scores": scores, "wall": wall, "cpu": cpu}), flush=True)


def make_their_model(folder: Path, texts: list[str]) -> None:
    """Hugging Face's CLIP with towers of the sizes of ours, random weights."""
    import torch
    from tokenizers import CharBPETokenizer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    folder.mkdir(parents=True)
    bpe = CharBPETokenizer(suffix="</w>", lowercase=True)
    special = ["<|startoftext|>", "<|endoftext|>", "<unk>"]
    bpe.train_from_iterator(texts, vocab_size=2000, suffix="</w>", special_tokens=special)
    bpe.save_model(str(folder))
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
    }
    text = {**sizes, "vocab_size": 250_002, "max_position_embeddings": 77, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    vision = {**sizes, "patch_size": 32, "image_size": 224}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM))
    model.save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)


def timed(way: Callable[[list[Photo]], Any], photos: list[Photo]) -> tuple[list[list[float]], float, float]:
    if isinstance(way, DataJuicer):
        return way(photos)
    wall, cpu = time.perf_counter(), time.process_time()
    scores = way(photos)
    return scores, time.perf_counter() - wall, time.process_time() - cpu


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    from capivara_cli.clip import load_clip

    photos = photos_in(arguments.photos)
    make_model(folder / "model", photos)
    clip = load_clip(f"local-dir:{folder / 'model'}")
    tokens = [len(row) for row in clip.tokenize([text for photo in photos for text, _ in photo.captions])]
    print(f"{processor()}; {CAPTIONS} captions an image, {np.mean(tokens):.1f} tokens each, at most {max(tokens)}")
    ways: dict[str, Any] = {"original": OriginalWay(clip), "fp32": Ours(clip, "fp32"), "bf16": Ours(clip, "bf16")}
    if arguments.data_juicer:
        ways["data-juicer"] = DataJuicer(arguments.data_juicer, folder, photos)
    for way in ways.values():
        timed(way, photos[:2])
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(arguments.rounds):
        for name, way in ways.items():
            count = WAYS[name][0]
            chosen = [photos[(number * count + place) % len(photos)] for place in range(count)]
            _, wall, cpu = timed(way, chosen)
            seconds[name].append((wall / count, cpu / count))
    medians = {name: np.median(np.array(each), axis=0) for name, each in seconds.items()}
    print(f"\nload {os.getloadavg()[0]:.1f} at the end\n")
    print("| way | s per image | CPU s per image | original / it (wall) | (CPU) |")
    print("|---|---|---|---|---|")
    for name, (wall, cpu) in medians.items():
        first = medians["original"] / (wall, cpu)
        print(f"| {WAYS[name][1]} | {wall:.4f} | {cpu:.4f} | {first[0]:.1f} | {first[1]:.1f} |")
    if "data-juicer" in medians:
        for name in ("fp32", "bf16"):
            ratio = medians["data-juicer"] / medians[name]
            print(f"data-juicer / {WAYS[name][1]}: {ratio[0]:.1f} (wall), {ratio[1]:.1f} (CPU)")
    agree(photos[: arguments.agree], ways)


def agree(photos: list[Photo], ways: dict[str, Any]) -> None:
    """Scores beside the original's, and decisions at a threshold in the middle of them."""
    reference = np.array(ways["original"](photos))
    threshold = float(np.median(reference))
    print(f"\n{reference.size} scores from {reference.min():.3f} to {reference.max():.3f}, threshold {threshold:.4f}")
    for name in ("fp32", "bf16"):
        scores = np.array(ways[name](photos))
        off = np.abs(scores - reference)
        other = (scores >= threshold) != (reference >= threshold)
        far = other & (np.abs(reference - threshold) > 0.005)
        print(
            f"{WAYS[name][1]}: at most {off.max():.5f} off (mean {off.mean():.5f}); {other.sum()} other decisions, "
            f"{far.sum()} of them more than 0.005 from the threshold"
        )


def processor() -> str:
    """What this runs on."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else 'unknown processor'}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder with captions.csv (image, caption, lang) and the images")
    parser.add_argument("--data-juicer", metavar="PYTHON", help="an interpreter that has py-data-juicer and torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--agree", type=int, default=40, help="images whose scores are compared")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    if arguments.photos is None:
        parser.error("--photos: which?")
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
