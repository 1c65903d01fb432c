"""CLIP models by name: open_clip architectures, hub repositories, local folders, finished runs, and the toy model.

All files are found before open_clip builds anything, so open_clip and transformers never use the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capivara_cli import languages, toy
from capivara_cli.errors import CapivaraError
from capivara_cli.models import file_digests
from capivara_cli.models.clip_files import (
    ADAPTER,
    ADAPTER_BASE,
    ADAPTER_WEIGHTS,
    CONFIG,
    DEFAULT_MODEL,
    DEFAULT_PRETRAINED,
    HUB,
    LOCAL,
    MCLIP,
    ClipFiles,
    check_model,
    files_in_folder,
    files_of_architecture,
    hub_folder,
    mclip_folder,
    text_tokenizer,
)
from capivara_cli.models.fixed_batches import by_width, fixed_batches
from capivara_cli.models.run_folder import open_run
from capivara_cli.shards.embedding import TowerIdentity
from capivara_cli.storage.checksums import KEY as CHECKSUM
from capivara_cli.storage.checksums import without_checksum

__all__ = [
    "DEFAULT_MODEL", "DEFAULT_PRETRAINED", "TOY", "AdapterFolder", "Clip", "check_model", "find_adapter", "load_base",
    "load_clip", "load_once",
]  # fmt: skip

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from capivara_cli.models.preprocess import Pixels
    from capivara_cli.pipeline.env import Env

TOY = toy.MODELS / "clip"

_IMAGES, _TEXTS = {"cpu": 8, "cuda": 64}, {"cpu": 16, "cuda": 64}
"""The numbers of images and of texts that a tower embeds at once, by device: one number, see ``fixed_batches``.

A single image or text takes as long as a full batch. On a CPU larger batches are hardly faster, on a GPU they are.
"""
_TOKENIZE_BATCH = 8192
_RESTORE = "restore the folder: export it again, or copy it again"
_EDITED = f"if you changed it yourself, remove {CHECKSUM!r} from it"


@dataclass
class Clip:
    """An open_clip model on a device, in evaluation mode; its text tower is always ``model.text``.

    ``identity``: that of the image tower; a run that adapts only the text tower has the identity of its base.
    ``config``: open_clip's ``model_cfg``. ``source``: how to load the model again ({"model", "pretrained"}).
    ``text_folder``: the folder with the ``config.json`` of a Hugging Face text tower. ``pad_id``: the token that pads
    rows of tokens; None for a text tower that needs all rows at full length. ``translate_queries``: the language into
    which queries must be translated, "" for none.
    """

    model: Any
    preprocess: Pixels
    tokenizer: Any
    device: str
    identity: TowerIdentity
    dim: int
    config: dict[str, Any]
    source: dict[str, str]
    pad_id: int | None
    text_folder: Path | None = None
    translate_queries: str = ""
    _text_digest: str | Callable[[], str] = ""

    @property
    def text_digest(self) -> str:
        """The sha256 of the parameters of the text tower; for a run, that of its base's digest and its adapter."""
        if callable(self._text_digest):
            self._text_digest = self._text_digest()
        return self._text_digest

    @property
    def tokenizer_digest(self) -> str:
        """The sha256 of everything that determines the tokens of a text."""
        own = getattr(self.tokenizer, "tokenizer", None)
        backend = getattr(own, "backend_tokenizer", None)
        if backend is not None:  # the first use sets both, and every use sets them again
            backend.no_truncation()
            backend.no_padding()
        settings = backend.to_str() if backend is not None else repr(own or self.tokenizer.__class__)
        return hashlib.sha256(f"{self.tokenizer.context_length} {settings}".encode()).hexdigest()

    def to_device(self) -> Clip:
        """Move the text tower and the temperature to the device; ``embed_images`` moves the image tower."""
        for name, module in self.model.named_children():
            if name != "visual":
                module.to(self.device)
        for parameter in self.model.parameters(recurse=False):
            parameter.data = parameter.data.to(self.device)
        return self

    def embed_images(self, images: Sequence[Tensor]) -> np.ndarray:
        """The embeddings, float32 [n, dim], L2-normalised, of n preprocessed images, uint8 [3, h, w] each.

        On one machine an image has the same embedding, bit for bit, whatever the others are.
        """
        import numpy as np
        import torch

        result = np.zeros((len(images), self.dim), np.float32)
        with torch.inference_mode():
            if images:
                self.model.visual.to(self.device)
            for chosen, batch in fixed_batches(range(len(images)), self._at_once(_IMAGES)):
                pixels = self.preprocess.normalised(torch.stack([images[index] for index in batch]).to(self.device))
                result[chosen] = self.model.encode_image(pixels, normalize=True)[: len(chosen)].float().cpu().numpy()
        return result

    def _at_once(self, sizes: dict[str, int]) -> int:
        return sizes.get(self.device.partition(":")[0], sizes["cpu"])

    def embed_texts(
        self, texts: Sequence[str], langs: str | Sequence[str] = "", *, normalize: bool = True
    ) -> np.ndarray:
        """The embeddings, float32 [n, dim], of n texts, L2-normalised unless ``normalize`` is False.

        Texts are cut to the context length of the tokenizer. ``langs``: see ``tokenize``. On one machine a text has the
        same embedding, bit for bit, whatever the others are.
        """
        import numpy as np
        import torch

        rows = self.tokenize(texts, langs)
        result = np.zeros((len(rows), self.dim), np.float32)
        widths = by_width([len(row) for row in rows], self.tokenizer.context_length)
        with torch.inference_mode():
            for width, indexes in widths.items():
                for chosen, batch in fixed_batches(indexes, self._at_once(_TEXTS)):
                    tokens = self.pad([rows[index] for index in batch], width).to(self.device)
                    found = self.model.encode_text(tokens, normalize=normalize)[: len(chosen)]
                    result[chosen] = found.float().cpu().numpy()
        return result

    def tokenize(self, texts: Sequence[str], langs: str | Sequence[str] = "") -> list[np.ndarray]:
        """One int32 row of token ids per text, unpadded unless the text tower needs rows of full length.

        ``langs``: the language of all texts, or of each; only tokenizers that mark the language (NLLB's) use it.
        """
        own: Any = getattr(self.tokenizer, "tokenizer", None)
        default = getattr(own, "src_lang", None)
        if not langs or not default:
            return self._rows(texts)
        each = [langs] * len(texts) if isinstance(langs, str) else langs
        rows: dict[int, np.ndarray] = {}
        for lang in dict.fromkeys(each):
            indexes = [index for index, other in enumerate(each) if other == lang]
            own.src_lang = languages.flores(lang, among=own.get_vocab(), default=default)
            rows |= dict(zip(indexes, self._rows([texts[index] for index in indexes]), strict=True))
        own.src_lang = default
        return [rows[index] for index in range(len(texts))]

    def _rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        import numpy as np

        rows: list[np.ndarray] = []
        for start in range(0, len(texts), _TOKENIZE_BATCH):
            block = self.tokenizer(list(texts[start : start + _TOKENIZE_BATCH])).numpy().astype(np.int32)
            if self.pad_id is None:
                rows += list(block)
                continue
            used = block != self.pad_id
            lengths = np.where(used.any(axis=1), block.shape[1] - used[:, ::-1].argmax(axis=1), 1)
            rows += [row[:length] for row, length in zip(block, lengths.tolist(), strict=True)]
        return rows

    def pad(self, rows: Sequence[np.ndarray], length: int = 0) -> Tensor:
        """Rows of token ids -> int64 [n, longest row or ``length``], padded on the right.

        If the text tower takes rows of any length, padding does not change an embedding.
        """
        import numpy as np
        import torch

        width = max(length, *(len(row) for row in rows)) if rows else length
        tokens = np.full((len(rows), width), self.pad_id or 0, np.int64)
        for padded, row in zip(tokens, rows, strict=True):
            padded[: len(row)] = row
        return torch.from_numpy(tokens)


def load_clip(model: str = DEFAULT_MODEL, pretrained: str = "", device: str = "cpu") -> Clip:
    """Load a CLIP model.

    ``model``: an open_clip architecture (with the tag or file ``pretrained``), ``hf-hub:org/name``,
    ``local-dir:PATH`` or such a folder's path, a peft adapter's folder or repository, ``mclip:NAME`` (a text tower of
    M-CLIP; ``pretrained`` may name the model with its image tower), a run folder, or ``toy``. Raises ``CapivaraError``
    for an unknown name, and if files are missing that cannot be downloaded.
    """
    path = Path(model.removeprefix(LOCAL))
    if (path / "run.json").is_file():
        return _load_run(path, device)
    if model == "toy":
        if not (TOY / CONFIG).is_file():
            raise CapivaraError(f"{TOY}: the toy model is missing", "rebuild it: python -m tools.build_toy")
        return _load(files_in_folder(TOY, "toy"), {"model": "toy", "pretrained": ""}, device)
    if model.startswith(MCLIP):
        return _load_mclip(model, pretrained, device)
    if (path / ADAPTER).is_file():
        return _load_adapter(f"{LOCAL}{path.absolute()}", device)
    if model.startswith(LOCAL) or path.is_dir():
        source = {"model": f"{LOCAL}{path.absolute()}", "pretrained": ""}
        return _load(files_in_folder(path, ""), source, device)
    if model.startswith(HUB):
        found = hub_folder(model.removeprefix(HUB))
        if not (found / CONFIG).is_file():
            return _load_adapter(model, device)
        return _load(files_in_folder(found, model), {"model": model, "pretrained": ""}, device)
    return _load(*files_of_architecture(model, pretrained), device)


def load_once(env: Env, model: str, pretrained: str = "") -> Clip:
    """``load_clip`` on the device of ``env``, once per process for each model."""
    return env.once(("clip", model, pretrained, env.device), lambda: load_clip(model, pretrained, env.device))


def _load(files: ClipFiles, source: dict[str, str], device: str) -> Clip:
    from capivara_cli.models.build import build, known_digest, padding
    from capivara_cli.models.preprocess import Pixels

    model = build(files)
    preprocess = Pixels(model.visual.preprocess_cfg)
    weights = known_digest("visual", files)
    clip = Clip(
        model=model,
        preprocess=preprocess,
        tokenizer=files.tokenizer,
        device=device,
        identity=TowerIdentity(files.label, weights, preprocess.description),
        dim=files.config["embed_dim"],
        config=files.config,
        source=source,
        pad_id=padding(model.text, files.tokenizer),
        text_folder=files.text_folder,
        _text_digest=lambda: known_digest("text", files),
    )
    return clip.to_device()


def _load_run(path: Path, device: str) -> Clip:
    """The base model with the adapter of a finished run merged in.

    Raises ``CapivaraError`` if the base model is not the one on which the run was trained.
    """
    import torch

    run = open_run(path)
    clip = load_base(find_adapter(str(path)), device)
    _merge_adapter(clip, run.adapter, run.document["adapter_sha256"])
    with torch.no_grad():
        clip.model.logit_scale.fill_(run.document["logit_scale"])
    clip.translate_queries = run.document.get("translate_queries", "")
    clip.source = {"model": str(path.absolute()), "pretrained": ""}
    return clip


@dataclass(frozen=True)
class AdapterFolder:
    """The folder of a saved adapter, and its base model.

    ``base``: how to load it, {"model", "pretrained"}. ``digests``: the digests of its towers, {"image", "text"}; {} if
    unknown.
    """

    folder: Path
    base: dict[str, str]
    digests: dict[str, str]


def find_adapter(name: str) -> AdapterFolder:
    """The adapter of a run, of a folder in peft's format, or of ``hf-hub:org/name``.

    If it does not name its base, as published adapters do not, that is the default model. Raises ``CapivaraError`` if
    there is no adapter, or its files are damaged.
    """
    path = Path(name.removeprefix(LOCAL))
    if (path / "run.json").is_file():
        run = open_run(path)
        run.check_adapter()
        return _adapter(run.adapter, run.document.get("base"), path / "run.json")
    folder = hub_folder(name.removeprefix(HUB)) if name.startswith(HUB) else path
    if not (folder / ADAPTER).is_file() or not any((folder / each).is_file() for each in ADAPTER_WEIGHTS):
        raise CapivaraError(f"{name}: not an adapter", "give a run folder, an adapter's folder, or hf-hub:ORG/NAME")
    if not (folder / ADAPTER_BASE).is_file():
        return AdapterFolder(folder, {"model": DEFAULT_MODEL, "pretrained": ""}, {})
    try:
        base = without_checksum(json.loads((folder / ADAPTER_BASE).read_bytes()))
        files = dict(base.get(file_digests.FILES, {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise CapivaraError(f"{folder / ADAPTER_BASE}: damaged: {error}", f"{_RESTORE}; {_EDITED}") from error
    file_digests.check(folder, files, folder / ADAPTER_BASE, _RESTORE)
    return _adapter(folder, base, folder / ADAPTER_BASE)


def _adapter(folder: Path, base: Any, file: Path) -> AdapterFolder:
    """The adapter in a folder; ``base`` is the description of its base model in ``file``."""
    try:
        source = {key: str(base["source"][key]) for key in ("model", "pretrained")}
        return AdapterFolder(folder, source, {tower: str(base[tower]) for tower in ("image", "text")})
    except (KeyError, TypeError) as error:
        raise CapivaraError(f"{file}: damaged: its base model is missing or incomplete", _RESTORE) from error


def load_base(adapter: AdapterFolder, device: str) -> Clip:
    """Load the base model of an adapter. Raises ``CapivaraError`` if its weights differ from those of the training."""
    clip = load_clip(adapter.base["model"], adapter.base["pretrained"], device)
    for tower, expected in adapter.digests.items():
        found = clip.identity.weights if tower == "image" else clip.text_digest
        if found != expected:
            raise CapivaraError(
                f"{adapter.folder}: was trained on {adapter.base['model']}, whose {tower} tower has changed "
                f"(from {expected[:15]}… to {found[:15]}…)",
                "an adapter fits only the weights on which it was trained: restore them, or train again",
            )
    return clip


def _load_adapter(source: str, device: str) -> Clip:
    """A peft adapter merged into its base."""
    adapter = find_adapter(source)
    clip = load_base(adapter, device)
    weights = next(path for name in ADAPTER_WEIGHTS if (path := adapter.folder / name).is_file())
    _merge_adapter(clip, adapter.folder, hashlib.sha256(weights.read_bytes()).hexdigest())
    clip.source = {"model": source, "pretrained": ""}
    return clip


def _merge_adapter(clip: Clip, folder: Path, sha256: str) -> None:
    """Merge an adapter into the text tower, and load the image tower if it was trained too."""
    from capivara_cli.models.adapters import methods
    from capivara_cli.models.build import digest, loading_errors, shortened

    before = clip.text_digest
    try:
        adapted = methods.load(clip.model.text, folder, clip.device)
        if methods.load_image_tower(clip.model.visual, folder):
            clip.identity = replace(clip.identity, weights=digest(clip.model.visual))
    except loading_errors() as error:
        raise CapivaraError(f"{folder}: the adapter cannot be loaded: {shortened(error)}") from error
    clip.model.text = adapted.eval().requires_grad_(False)
    clip._text_digest = "sha256:" + hashlib.sha256((before + sha256).encode()).hexdigest()


def _load_mclip(spec: str, image_model: str, device: str) -> Clip:
    """An M-CLIP text tower with its image tower, or with that of ``image_model``."""
    from capivara_cli.models import mclip

    own, base = mclip_folder(spec)
    name, pretrained = (image_model, "") if image_model else mclip.images_for(own)
    clip = load_clip(name, pretrained, device)
    text = mclip.load(own, base)
    if text.proj.out_features != clip.dim:
        raise CapivaraError(
            f"{spec}: its embeddings have {text.proj.out_features} numbers, those of {name} {clip.dim}",
            "give the model with its image tower by --pretrained",
        )
    clip.model.text = text
    clip.text_folder = None
    clip.tokenizer = text_tokenizer(own if any(own.glob("tokenizer*")) else base, mclip.CONTEXT_LENGTH)
    clip.pad_id = text.config.pad_token_id
    clip.source = {"model": spec, "pretrained": image_model}
    clip._text_digest = lambda: _digest_of(text)
    return clip.to_device()


def _digest_of(text: Any) -> str:
    from capivara_cli.models.build import digest

    return digest(text)
