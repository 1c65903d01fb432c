"""Approximate search in millions of images, by an inverted file of faiss (Douze et al. 2024, arXiv 2401.08281).

k-means sorts the images into clusters, and a query is compared only with the images of the nearest clusters. Scores
are computed again from the embeddings, so an image has the same score as in an exact search.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capivara_cli import console
from capivara_cli.commands.searching.exact import Floats, SearchHits, check_sizes, products
from capivara_cli.errors import CapivaraError
from capivara_cli.storage.arrays import checksum
from capivara_cli.storage.files import replace_text, replacing, sweep

if TYPE_CHECKING:
    from capivara_cli.commands.searching.index import Index

LARGE = 1_000_000
"""With more images than this, an exact search takes a good part of a second per query."""
INSTALL = "pip install 'capivara[search]'"
_FILE = "faiss.index"
_DOCUMENT = "faiss.json"
_PER_CLUSTER = 39  # images that train a cluster: faiss warns about fewer
_PROBED = 1 / 16  # share of the clusters that a query is compared with, but at least ``_FEWEST``
_FEWEST = 16
_ADDED = 1 << 16  # images added at a time
_QUERIES = 1024  # queries searched at a time


def installed() -> bool:
    """Whether faiss is installed."""
    import importlib.util

    return importlib.util.find_spec("faiss") is not None


def best(index: Index, queries: Floats, k: int) -> SearchHits:
    """The ``k`` best rows for each of ``queries`` [Q, dim], among the clusters nearest to it.

    Row -1 pads a result with fewer rows. The inverted file is stored in the folder of the index. Raises
    ``CapivaraError`` when faiss is not installed.
    """
    check_sizes(index.features.shape[1], queries)
    inverted = inverted_file(index.features, index.folder)
    k = min(k, len(index))
    parts = [
        best_of(inverted, index.features, queries[start : start + _QUERIES], k)
        for start in range(0, len(queries), _QUERIES)
    ]
    return SearchHits(np.concatenate([part.rows for part in parts]), np.concatenate([part.scores for part in parts]))


def best_of(inverted: Any, features: Floats, queries: Floats, k: int) -> SearchHits:
    """The best rows by an inverted file, with their exact scores and in the order of an exact search."""
    rows = inverted.search(np.ascontiguousarray(queries), k)[1].astype(np.int64)
    owners, places = np.nonzero(rows >= 0)
    scores = np.full(rows.shape, -np.inf, np.float32)
    scores[owners, places] = products(features, queries, rows[owners, places], owners)
    order = np.lexsort((rows, -scores), axis=1)
    return SearchHits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


def inverted_file(features: Floats, folder: Path) -> Any:
    """The inverted file of the features: read from the folder, or built and written to it."""
    faiss = _faiss()
    path, document = folder / _FILE, folder / _DOCUMENT
    if document.is_file():
        if _sound(path, document):
            return _probing(faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY))
        console.warn(f"{path}: damaged, so it is rebuilt")
    sweep(folder)
    inverted = _build(faiss, features)
    with replacing(path) as out:
        faiss.write_index(inverted, faiss.PyCallbackIOWriter(out.write))
    replace_text(document, json.dumps(checksum(path)) + "\n")
    return _probing(inverted)


def _sound(path: Path, document: Path) -> bool:
    """Whether the file has the checksum in the document beside it."""
    try:
        return checksum(path) == json.loads(document.read_bytes())
    except (FileNotFoundError, ValueError):
        return False


def _build(faiss: Any, features: Floats) -> Any:
    """An inverted file of half-precision vectors in 4 sqrt(N) clusters, or as many as N images can train."""
    count, dim = features.shape
    clusters = max(1, min(int(4 * count**0.5), count // _PER_CLUSTER))
    quantizer = faiss.IndexFlatIP(dim)
    inverted = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, clusters, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    inverted.cp.spherical = True
    console.say(f"capivara search: sorting {count:,} images into {clusters:,} clusters, once")
    chosen = np.sort(np.random.default_rng(0).permutation(count)[: clusters * _PER_CLUSTER])
    inverted.train(np.ascontiguousarray(features[chosen]))
    progress = console.Progress("search: sorting", count)
    for start in range(0, count, _ADDED):
        block = np.ascontiguousarray(features[start : start + _ADDED])
        inverted.add(block)
        progress.advance(len(block))
    progress.close()
    return inverted


def _probing(inverted: Any) -> Any:
    """The inverted file, set to search the share ``_PROBED`` of its clusters."""
    inverted.nprobe = min(inverted.nlist, max(_FEWEST, round(inverted.nlist * _PROBED)))
    return inverted


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise CapivaraError("--index faiss: faiss is not installed", f"{INSTALL}, or --index exact") from error
    return faiss
