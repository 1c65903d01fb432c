"""An Argos package of real size with the translations of a small one.

6 + 6 layers, width 480, inner width 2,048, as Argos' packages have: the small one with every feature six times over,
eight times inside, and four layers more that change nothing.
"""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np

TIMES, INNER, LAYERS = 6, 8, 6
Arrays = dict[str, np.ndarray]


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
