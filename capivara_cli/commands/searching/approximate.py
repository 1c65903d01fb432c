"""Faster than comparing all: an inverted file by faiss (Douze et al. 2024, arXiv 2401.08281), for millions of images.

The images are sorted into clusters (k-means), a query is compared with those of the nearest clusters alone. Scores are
computed again from the embeddings, so an image that is found has the score it has in an exact search.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capivara_cli import console
from capivara_cli.commands.searching.exact import Best, Floats, check_sizes, products
from capivara_cli.errors import CapivaraError
from capivara_cli.storage.arrays import checksum
from capivara_cli.storage.files import replace_text, replacing

if TYPE_CHECKING:
    from capivara_cli.commands.searching.index import Index

LARGE = 1_000_000
"""Images from which on an exact search of one query takes a good part of a second."""

INSTALL = "pip install 'capivara[search]'"
_FILE = "faiss.index"
_DOCUMENT = "faiss.json"
_PER_CLUSTER = 39  # images to train a cluster with: faiss warns below
_PROBED = 1 / 16  # of the clusters are compared with a query, and no fewer than the next number of them
_FEWEST = 16
_ADDED = 1 << 16  # images at a time
_QUERIES = 1024


def installed() -> bool:
    """Whether faiss is there."""
    import importlib.util

    return importlib.util.find_spec("faiss") is not None


def best(index: Index, queries: Floats, k: int) -> Best:
    """The ``k`` best rows of the clusters nearest to each of ``queries`` [Q, d]; fewer are padded with row -1.

    The inverted file is kept beside the index. Raises ``CapivaraError`` when faiss is not installed.
    """
    check_sizes(index.features.shape[1], queries)
    inverted = inverted_file(index.features, index.folder)
    k = min(k, len(index))
    parts = [
        best_of(inverted, index.features, queries[start : start + _QUERIES], k)
        for start in range(0, len(queries), _QUERIES)
    ]
    return Best(np.concatenate([part.rows for part in parts]), np.concatenate([part.scores for part in parts]))


def best_of(inverted: Any, features: Floats, queries: Floats, k: int) -> Best:
    """The best rows by an inverted file, with the scores of ``features`` and the order of an exact search."""
    rows = inverted.search(np.ascontiguousarray(queries), k)[1].astype(np.int64)
    owners, places = np.nonzero(rows >= 0)
    scores = np.full(rows.shape, -np.inf, np.float32)
    scores[owners, places] = products(features, queries, rows[owners, places], owners)
    order = np.lexsort((rows, -scores), axis=1)
    return Best(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


def inverted_file(features: Floats, folder: Path) -> Any:
    """That of the features: the one that is kept in the folder, else made now."""
    faiss = _faiss()
    path, document = folder / _FILE, folder / _DOCUMENT
    if document.is_file():
        if _sound(path, document):
            return _probing(faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY))
        console.warn(f"{path}: damaged: it is made again")
    made = _build(faiss, features)
    with replacing(path) as out:
        faiss.write_index(made, faiss.PyCallbackIOWriter(out.write))
    replace_text(document, json.dumps(checksum(path)) + "\n")
    return _probing(made)


def _sound(path: Path, document: Path) -> bool:
    try:
        return checksum(path) == json.loads(document.read_bytes())
    except (FileNotFoundError, ValueError):
        return False


def _build(faiss: Any, features: Floats) -> Any:
    """Half-precision vectors in 4 sqrt(N) clusters, or as many as the images can train."""
    count, dim = features.shape
    clusters = max(1, min(int(4 * count**0.5), count // _PER_CLUSTER))
    quantizer = faiss.IndexFlatIP(dim)
    made = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, clusters, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    made.cp.spherical = True
    console.say(f"capivara search: sorting {count:,} images into {clusters:,} clusters, once")
    chosen = np.sort(np.random.default_rng(0).permutation(count)[: clusters * _PER_CLUSTER])
    made.train(np.ascontiguousarray(features[chosen]))
    progress = console.Progress("search: sorting", count)
    for start in range(0, count, _ADDED):
        block = np.ascontiguousarray(features[start : start + _ADDED])
        made.add(block)
        progress.advance(len(block))
    progress.close()
    return made


def _probing(inverted: Any) -> Any:
    inverted.nprobe = min(inverted.nlist, max(_FEWEST, round(inverted.nlist * _PROBED)))
    return inverted


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise CapivaraError("--index faiss: faiss is not installed", f"{INSTALL}, or --index exact") from error
    return faiss
