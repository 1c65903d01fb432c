"""Translating captions: ours beside argostranslate's API, text by text, and beside a bare CTranslate2, in one run.

python benchmarks/translate.py [CAPTIONS]   10,000 by default; the API gets as many as it does in 45 seconds

The captions are sentences about toy scenes as the captioner writes them, so that they come again as synthetic captions
do; ratios are also given over the distinct ones alone. Two packages with the same translations: the toy one, and one of
the size of Argos' packages (6 + 6 layers, width 480, inner width 2,048), which is the toy one with every feature six
times over, eight times inside, and four layers more that change nothing. argostranslate's sentence splitter is left
out: it would be downloaded, and a caption is one sentence.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from capivara_cli.generation import Decoding, Setup
from capivara_cli.toy.build.translators import parallel_rows
from capivara_cli.translation_memory import Remembering
from capivara_cli.translators import argos
from capivara_cli.translators.toy import MODELS

TIMES, INNER, LAYERS = 6, 8, 6
API_SECONDS = 45
Arrays = dict[str, np.ndarray]


def captions(count: int) -> list[str]:
    """Sentences, half of them with the paper's prefixes, drawn with replacement: a third comes again."""
    texts = [row["en"] for row in parallel_rows("train", count, 1, {"sentence": 1, "prefixed": 1})]
    return [texts[place] for place in np.random.default_rng(0).integers(len(texts), size=count)]


# --- a package of real size with the translations of a small one ---


def read_model(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Variables (weights as floats) and aliases of a ``model.bin`` of CTranslate2."""
    with open(path, "rb") as file:

        def number(kind: str) -> int:
            return struct.unpack(kind, file.read(struct.calcsize(kind)))[0]

        def text() -> str:
            return file.read(number("H")).decode().rstrip("\0")

        number("I"), text(), number("I")
        kinds = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32}
        found: Arrays = {}
        for _ in range(number("I")):
            name, rank = text(), number("B")
            shape = [number("I") for _ in range(rank)]
            kind = kinds[number("B")]
            found[name] = np.frombuffer(file.read(number("I")), kind).reshape(shape)
        aliases = {text(): text() for _ in range(number("I"))}
    for name in [name for name in found if name.endswith("_scale")]:
        weight = name.removesuffix("_scale")
        found[weight] = found[weight].astype(np.float32) / found.pop(name)[:, None]
    return found, aliases


def write_model(path: Path, variables: Arrays, aliases: dict[str, str]) -> None:
    """The same format again, matrices in int8 with a scale per row."""
    ready: Arrays = {}
    for name, value in variables.items():
        if name.endswith("/weight"):
            largest = np.abs(value).max(axis=1)
            scale = np.where(largest > 0, 127 / np.maximum(largest, 1e-30), 1).astype(np.float32)
            ready[name], ready[f"{name}_scale"] = np.rint(value * scale[:, None]).astype(np.int8), scale
        else:
            ready[name] = value
    numbers = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.int32): 3}

    def text(word: str) -> bytes:
        return struct.pack("H", len(word) + 1) + word.encode() + b"\0"

    with open(path, "wb") as file:
        file.write(struct.pack("I", 6) + text("TransformerSpec") + struct.pack("II", 7, len(ready)))
        for name, value in sorted(ready.items()):
            data = value.tobytes()
            file.write(text(name) + struct.pack("B", value.ndim) + struct.pack(f"{value.ndim}I", *value.shape))
            file.write(struct.pack("<BI", numbers[value.dtype], len(data)) + data)
        file.write(struct.pack("I", len(aliases)) + b"".join(text(a) + text(b) for a, b in aliases.items()))


def widened(small: Arrays) -> Arrays:
    """Every feature ``TIMES`` over: norms see the same statistics, products are divided by how often they add up."""
    large: Arrays = {}
    for name, value in small.items():
        if name.endswith("num_heads"):
            large[name] = np.asarray(value * TIMES, value.dtype)
        elif value.ndim == 0 or "alignment" in name:
            large[name] = value
        elif name.endswith("ffn/linear_0/weight"):
            large[name] = np.tile(value, (INNER, TIMES)) / TIMES
        elif name.endswith("ffn/linear_0/bias"):
            large[name] = np.tile(value, INNER)
        elif name.endswith("ffn/linear_1/weight"):
            large[name] = np.tile(value, (TIMES, INNER)) / INNER
        elif name.endswith(("embeddings/weight", "encodings")):
            large[name] = np.tile(value, (1, TIMES))
        elif value.ndim == 2:  # queries, keys and values lie one after the other
            width = value.shape[1]
            parts = np.split(value, value.shape[0] // width)
            large[name] = np.concatenate([np.tile(part, (TIMES, TIMES)) / TIMES for part in parts])
        else:
            width = small["decoder/embeddings/weight"].shape[1]
            large[name] = np.concatenate([np.tile(part, TIMES) for part in np.split(value, len(value) // width)])
    large["decoder/projection/weight"] = large["decoder/embeddings/weight"] / TIMES
    for side in ("encoder", "decoder"):
        _add_layers(large, side)
    return large


def _add_layers(model: Arrays, side: str) -> None:
    """Layers whose last products are nought: x + 0, normalised, is x when x is normalised already.

    So the last norm of the real layers leaves out its gain and bias, and the last one added has them.
    """
    there = 1 + max(int(name.split("/layer_")[1].split("/")[0]) for name in model if name.startswith(f"{side}/layer_"))
    last = f"{side}/layer_{there - 1}/"
    pattern = {name.removeprefix(last): value for name, value in model.items() if name.startswith(last)}
    gain, bias = (f"{last}ffn/layer_norm/{part}" for part in ("gamma", "beta"))
    ending = model[gain], model[bias]
    model[gain], model[bias] = np.ones_like(ending[0]), np.zeros_like(ending[1])
    for number in range(there, LAYERS):
        for name, value in pattern.items():
            nought = name.startswith(("self_attention/linear_1", "attention/linear_2", "ffn/linear_1"))
            ones = name.endswith("layer_norm/gamma")
            zero = nought or name.endswith("layer_norm/beta")
            model[f"{side}/layer_{number}/{name}"] = (
                np.zeros_like(value) if zero else np.ones_like(value) if ones else value
            )
    last = f"{side}/layer_{LAYERS - 1}/ffn/layer_norm/"
    model[f"{last}gamma"], model[f"{last}beta"] = ending


def large_package(small: Path, folder: Path) -> Path:
    """An ``.argosmodel`` of real size that translates as ``small`` does."""
    with zipfile.ZipFile(small) as archive:
        archive.extractall(folder)
    (inside,) = (path for path in folder.iterdir() if path.is_dir())
    variables, aliases = read_model(inside / "model" / "model.bin")
    aliases.pop("decoder/projection/weight")
    write_model(inside / "model" / "model.bin", widened(variables), aliases)
    return Path(shutil.make_archive(str(folder / "large"), "zip", folder, inside.name)).rename(folder / small.name)


# --- the three ways ---


def with_api(package: Path, texts: Sequence[str]) -> tuple[float, list[str]]:
    """``argostranslate.translate.translate`` on each text; returns seconds per text and what it did in its time."""
    from argostranslate import package as packages
    from argostranslate import sbd, translate

    sbd.MiniSBDSentencizer.split_sentences = lambda self, text: [text]
    for installed in packages.get_installed_packages():
        packages.uninstall(installed)
    packages.install_from_path(package)
    translate.get_installed_languages.cache_clear()
    translate.installed_translates.clear()
    translate.translate(texts[0], "en", "pt")
    done: list[str] = []
    start = time.perf_counter()
    while len(done) < len(texts) and time.perf_counter() - start < API_SECONDS:
        done.append(translate.translate(texts[len(done)], "en", "pt"))
    return (time.perf_counter() - start) / len(done), done


def with_ctranslate2(chain: Any, texts: Sequence[str]) -> list[list[str]]:
    """Nothing but ``translate_batch`` over tokens that are there, in its best batches."""
    tokenizer, model = chain.packages[0].tokenizer, chain.packages[0].model
    tokens = [tokenizer.encode(text) for text in texts]
    start = time.perf_counter()
    results = model.translate_batch(
        tokens, replace_unknowns=True, max_batch_size=256, batch_type="tokens", beam_size=4, length_penalty=0.2
    )
    with_ctranslate2.seconds = time.perf_counter() - start  # type: ignore[attr-defined]
    return [result.hypotheses[0] for result in results]


def timed(work: Callable[..., Any], *given: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work(*given)
    return time.perf_counter() - start, result


def measure(name: str, package: Path, texts: Sequence[str]) -> list[str]:
    distinct = list(dict.fromkeys(texts))
    chain = argos.load(str(package), source="en", target="pt", setup=Setup("cpu", Decoding(beams=0)))
    chain(distinct[:200])
    bare = ours = whole = float("inf")
    for _ in range(2):
        with_ctranslate2(chain, distinct)
        bare = min(bare, with_ctranslate2.seconds)  # type: ignore[attr-defined]
        ours = min(ours, timed(chain, distinct)[0])
        seconds, results = timed(Remembering(chain, None), texts)
        whole = min(whole, seconds)
    per_text, theirs = with_api(package, texts)
    same = sum(a == b for a, b in zip(theirs, results, strict=False))
    rows = [
        (f"argostranslate's API ({len(theirs)} texts)", per_text * len(texts), len(texts)),
        ("capivara, all captions", whole, len(texts)),
        ("capivara, distinct ones", ours, len(distinct)),
        ("bare translate_batch, distinct ones", bare, len(distinct)),
    ]
    print(
        f"\n{name}: {same} of {len(theirs)} equal to the API's; {ours and bare / ours:.0%} of a bare translate_batch\n"
    )
    print("| | seconds | captions/s | of the API's speed |\n|---|---|---|---|")
    for label, seconds, count in rows:
        print(f"| {label} | {seconds:.1f} | {count / seconds:.0f} | {per_text * count / seconds:.0f}x |")
    return results


def main() -> None:
    texts = captions(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    words = sum(len(text.split()) for text in texts) / len(texts)
    print(
        f"{len(texts)} captions of {words:.0f} words, {len(set(texts))} distinct; {len(os.sched_getaffinity(0))} cores"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "ARGOS_PACKAGES_DIR", "CAPIVARA_CACHE"):
            os.environ[name] = str(Path(folder) / name)
        small = MODELS / "translate-en_pt.argosmodel"
        own = measure("toy package", small, texts)
        large = measure("package of real size", large_package(small, Path(folder) / "large"), texts)
        equal = sum(a == b for a, b in zip(own, large, strict=True))
        print(f"\n{equal} of {len(texts)} translations of the two packages are equal")


if __name__ == "__main__":
    main()
