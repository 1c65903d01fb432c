"""Embed texts and images with any CLIP model that the commands know."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError, UsageError
from capivara_cli.library._calls import call
from capivara_cli.library.samples import Sample, image_bytes, record_of
from capivara_cli.library.sources import StrPath
from capivara_cli.pipeline.device import resolved
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from capivara_cli.evaluation.set_translator import SetTranslator
    from capivara_cli.models.clip import Clip

    ImageSource: TypeAlias = Image | Sample | StrPath | bytes
    Embeddings: TypeAlias = NDArray[np.float32]

_TOGETHER = 256
"""Images whose pixels are in memory at once."""
_THREADS = 4


class Model:
    """A CLIP model in memory. ``name`` and ``device`` are those it was loaded with, ``dim`` is the embedding's length.

    ``translate_queries``: the language into which texts are translated before they are embedded, because a run was
    trained on translated ones; "" for none.
    """

    def __init__(self, name: str, clip: Clip, env: Env) -> None:
        self.name, self.device, self.dim = name, clip.device, clip.dim
        self.translate_queries = clip.translate_queries
        self._clip, self._env = clip, env

    def embed_texts(
        self, texts: str | Iterable[str], *, lang: str = "", translator: str = "auto", progress: bool = False
    ) -> Embeddings:
        """The embeddings of n texts, float32 [n, dim], of unit length. Texts are cut to the model's context length.

        ``lang``: their language, which few models need; ``translator``: for a model with ``translate_queries``. Raises
        ``CapivaraError`` if such a model lacks the language.

        >>> model = capivara.load("toy", device="cpu")
        >>> model.embed_texts(["um círculo vermelho", "a red circle"]).shape
        (2, 128)
        """
        import numpy as np

        from capivara_cli.commands.searching.query import embed_queries
        from capivara_cli.evaluation.set_translator import SetTranslator

        def translate(source: str, target: str) -> SetTranslator:
            return SetTranslator(translator, source, target, self._env)

        given = [texts] if isinstance(texts, str) else list(texts)
        with call(progress, {"--lang": "lang"}):
            if not given:
                return np.zeros((0, self.dim), np.float32)
            _, vectors = embed_queries(given, lang, self._clip, translate)
            return vectors.astype(np.float32, copy=False)

    def embed_images(self, images: ImageSource | Iterable[ImageSource], *, progress: bool = False) -> Embeddings:
        """The embeddings of n images, float32 [n, dim], of unit length.

        An image is a PIL image, the path or the bytes of a file, or a ``Sample``. Files are decoded as by the commands:
        a large JPEG at a reduced size. Raises ``CapivaraError`` for one that cannot be read or decoded.

        >>> sample = next(iter(capivara.read("shards")))
        >>> model.embed_images([sample, sample.image, sample.members["jpg"]]).shape
        (3, 128)
        """
        import numpy as np

        given = [images] if _is_one(images) else list(images)  # type: ignore[arg-type]
        found = [np.zeros((0, self.dim), np.float32)]
        with call(progress), ThreadPoolExecutor(_THREADS, thread_name_prefix="capivara-images") as pool:
            bar = console.Progress("images", len(given))
            for start in range(0, len(given), _TOGETHER):
                numbered = list(enumerate(given[start : start + _TOGETHER], start))
                found.append(self._clip.embed_images(list(pool.map(self._pixels, numbered))))
                bar.advance(len(numbered))
            bar.close()
        return np.concatenate(found)

    def score(
        self, images: ImageSource | Iterable[ImageSource], texts: str | Iterable[str], *, lang: str = ""
    ) -> Embeddings:
        """The cosine of each image and each text, float32 [images, texts]. Raises what embedding them raises.

        >>> scores = model.score([sample], ["a red square", "a blue circle"])
        >>> bool(scores[0, 0] > scores[0, 1])
        True
        """
        vectors: Embeddings = self.embed_images(images) @ self.embed_texts(texts, lang=lang).T
        return vectors

    def _pixels(self, numbered: tuple[int, Any]) -> Tensor:
        from capivara_cli.models.image_vectors import pixels
        from capivara_cli.shards.images import as_rgb

        number, image = numbered
        try:
            if isinstance(image, Sample):
                return pixels(self._clip, record_of(image))
            if isinstance(image, bytes | str | os.PathLike):
                return pixels(self._clip, image_bytes(image))
            if not hasattr(image, "load"):
                raise UsageError(
                    f"image {number}: {image!r:.60} is no image", "a PIL image, a path, bytes, or a Sample"
                )
            return self._clip.preprocess(as_rgb(image))
        except BadSample as error:
            name = image if isinstance(image, str | os.PathLike) else f"image {number}"
            raise CapivaraError(f"{name}: {error.reason}") from error

    def __repr__(self) -> str:
        return f"<{self.name} on {self.device}, {self.dim} numbers per embedding>"


def _is_one(images: object) -> bool:
    return isinstance(images, bytes | str | os.PathLike | Sample) or not isinstance(images, Iterable)


def load(model: StrPath, pretrained: StrPath = "", *, device: str = "auto", progress: bool = False) -> Model:
    """Load a CLIP model: a run folder, an open_clip architecture, ``hf-hub:ORG/NAME``, ``local-dir:PATH``,
    ``mclip:NAME``, a peft adapter, or ``toy``.

    ``pretrained``: the weights of an open_clip architecture, a tag or a file. ``device``: ``auto`` takes the first GPU,
    otherwise the CPU. Embeddings are computed in float32, as by ``capivara eval`` and ``capivara search``.

    Raises ``CapivaraError`` for an unknown model, an unfinished run, and for files that cannot be downloaded.

    >>> capivara.load("toy", device="cpu")
    <toy on cpu, 128 numbers per embedding>
    """
    from capivara_cli.models.clip import load_clip
    from capivara_cli.models.clip_files import check_model

    name, weights = os.fspath(model), os.fspath(pretrained)
    with call(progress, {"--pretrained": "pretrained", "--device": "device", "--model": "model"}):
        check_model(name, weights)
        place = resolved(device)
        env = Env(Settings(device=place, quiet=not progress), "load")
        return Model(name, load_clip(name, weights, place), env)
