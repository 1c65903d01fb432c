"""Example queries with the answers of each model, for the report, and the folder that stores them.

Examples are drawn at random within each verdict and stored with the counts of all verdicts, so that they cannot be
chosen to flatter a model.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Sample, encode_json
from capivara_cli.storage import checksums
from capivara_cli.storage.files import replacing_folder

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.float64]
Entry = dict[str, Any]

FILE = "examples.json"
DIRECTIONS = ("text_to_image", "image_to_text")
VERDICTS = ("gained", "lost", "kept", "missed")
"""Which model ranks a correct answer among the first few: only the last, only the first, both, neither."""
THUMBNAIL = 224  # pixels, the longer side


@dataclass(frozen=True)
class Answers:
    """One model's L2-normalised embeddings of a set, and the ranks of the correct answers.

    ``images`` [N, d], ``texts`` [T, d]. ``text_ranks`` [T] and ``image_ranks`` [N] are as in ``Retrieval``.
    """

    images: Floats
    texts: Floats
    text_ranks: Ranks
    image_ranks: Ranks

    def ranks(self, direction: str) -> Ranks:
        """The rank of the best correct answer to each query of a direction."""
        return self.text_ranks if direction == DIRECTIONS[0] else self.image_ranks

    def best(self, direction: str, query: int, count: int) -> list[tuple[int, float]]:
        """(row, score) of the best ``count`` answers to a query; the earlier of tied ones comes first."""
        queries, candidates = (self.texts, self.images) if direction == DIRECTIONS[0] else (self.images, self.texts)
        scores = candidates @ queries[query]
        order = np.argsort(-scores, kind="stable")[:count]
        return [(int(row), round(float(scores[row]), 4)) for row in order]


@dataclass(frozen=True)
class QueryPool:
    """The captions of one language of a set, from which queries are drawn.

    ``owners`` [T]: the row of the image of each caption; ``keys`` [N]: the keys of the images.
    """

    set: str
    split: str
    lang: str
    captions: Sequence[str]
    owners: Sequence[int]
    keys: Sequence[str]

    def queries(self, direction: str) -> tuple[npt.NDArray[np.int64], list[str]]:
        """The rows of the queries of a direction, and a name for each, which equal queries share."""
        if direction == "text_to_image":
            return np.arange(len(self.captions)), list(self.captions)
        rows = np.unique(np.asarray(self.owners))
        return rows, [self.keys[row] for row in rows]

    def entry(self, direction: str, query: int, models: Mapping[str, Answers], count: int) -> Entry:
        """The JSON of a query, with the rank of its answer and the best ``count`` answers of every model."""
        ranks = {name: float(model.ranks(direction)[query]) for name, model in models.items()}
        best = {name: model.best(direction, query, count) for name, model in models.items()}
        if direction == "text_to_image":
            return {
                "text": self.captions[query],
                "key": self.keys[self.owners[query]],
                "rank": ranks,
                "found": {
                    model: [{"key": self.keys[row], "score": score} for row, score in rows]
                    for model, rows in best.items()
                },
            }
        return {
            "key": self.keys[query],
            "captions": [text for text, owner in zip(self.captions, self.owners, strict=True) if owner == query],
            "rank": ranks,
            "found": {
                model: [
                    {"text": self.captions[row], "score": score, "right": self.owners[row] == query}
                    for row, score in rows
                ]
                for model, rows in best.items()
            },
        }


def pick(pool: QueryPool, models: Mapping[str, Answers], *, count: int = 8, found: int = 5, seed: int = 0) -> Entry:
    """One entry of ``examples.json``: ``count`` queries per direction, with the best ``found`` answers of each model.

    Verdicts compare the last model with the first, the baseline. Images without captions are not queries.
    """
    first, *_, last = [*models.values()] * 2
    entry: Entry = {"set": pool.set, "split": pool.split, "lang": pool.lang, "models": list(models), "counts": {}}
    for direction in DIRECTIONS:
        queries, names = pool.queries(direction)
        before, after = (model.ranks(direction)[queries] <= found for model in (first, last))
        numbers = np.select([after & ~before, before & ~after, before & after], [0, 1, 2], 3)
        verdicts = [VERDICTS[number] for number in numbers]
        entry["counts"][direction] = {name: verdicts.count(name) for name in VERDICTS}
        drawn = _drawn(verdicts, names, count, np.random.default_rng(seed))
        entry[direction] = [
            {**pool.entry(direction, int(queries[index]), models, found), "verdict": verdicts[index]} for index in drawn
        ]
    return entry


def _drawn(verdicts: Sequence[str], names: Sequence[str], count: int, chance: np.random.Generator) -> list[int]:
    """The indexes of ``count`` distinct queries, drawn from each verdict in turn; ordered by verdict."""
    by_verdict: dict[str, list[int]] = {name: [] for name in VERDICTS}
    seen: set[str] = set()
    for index in chance.permutation(len(verdicts)).tolist():
        if names[index] not in seen:
            seen.add(names[index])
            by_verdict[verdicts[index]].append(index)
    turns = [
        (turn, VERDICTS.index(verdict), index)
        for verdict, indexes in by_verdict.items()
        for turn, index in enumerate(indexes)
    ]
    return [index for _, _, index in sorted(sorted(turns)[:count], key=lambda each: (each[1], each[0]))]


def save(folder: Path, chosen: Sequence[Entry], samples: Callable[[], Iterable[Sample]]) -> None:
    """Write examples and thumbnails of their images into ``folder``, all or nothing.

    ``samples`` returns the samples with these images. Each entry gets ``images`` {key: file}, without images that
    cannot be decoded. Examples of other sets, splits and languages stay.
    """
    replaced = {_identity(entry) for entry in chosen}
    stays = [entry for entry in load(folder)["sets"] if _identity(entry) not in replaced]
    wanted = {key for entry in chosen for key in _keys_of(entry)}
    thumbnails = _thumbnails(samples(), wanted) if wanted else {}
    names = {key: f"{sha256(data).hexdigest()[:20]}.jpg" for key, data in thumbnails.items()}
    added = [{**entry, "images": {key: names[key] for key in _keys_of(entry) if key in names}} for entry in chosen]
    kept = {name for entry in stays for name in entry.get("images", {}).values()}
    old = {name: (folder / name).read_bytes() for name in sorted(kept) if (folder / name).is_file()}
    with replacing_folder(folder) as partial:
        for name, data in {**old, **{names[key]: data for key, data in thumbnails.items()}}.items():
            (partial / name).write_bytes(data)
        (partial / FILE).write_bytes(encode_json(checksums.with_checksum({"sets": [*stays, *added]})) + b"\n")


def load(folder: Path) -> dict[str, Any]:
    """The ``examples.json`` of a folder, {"sets": []} if there is none. Raises ``CapivaraError`` if it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return {"sets": []}
    try:
        document = json.loads(path.read_bytes())
        for entry in document["sets"]:
            _check(entry)
        document = checksums.without_checksum(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CapivaraError(
            f"{path}: damaged: {error}", f"delete {folder} and run eval again, which writes the examples again"
        ) from error
    return document


def _check(entry: Entry) -> None:
    """Raise an error that ``load`` reports as damage unless the entry has all the fields that readers use."""
    _identity(entry)
    _keys_of(entry)
    for model in entry["models"]:
        for query in (*entry[DIRECTIONS[0]], *entry[DIRECTIONS[1]]):
            float(query["rank"][model])
            if query["verdict"] not in VERDICTS:
                raise ValueError(f"verdict {query['verdict']!r}")
            for hit in query["found"][model]:
                float(hit["score"])
    for name in entry.get("images", {}).values():
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not a file name")


def _identity(entry: Entry) -> tuple[str, str, str]:
    return entry["set"], entry["split"], entry["lang"]


def _keys_of(entry: Entry) -> list[str]:
    """The keys of the images in an entry, each once."""
    shown = [query["key"] for direction in DIRECTIONS for query in entry[direction]]
    shown += [hit["key"] for query in entry[DIRECTIONS[0]] for hits in query["found"].values() for hit in hits]
    return list(dict.fromkeys(shown))


def _thumbnails(samples: Iterable[Sample], wanted: set[str]) -> dict[str, bytes]:
    """Key -> JPEG thumbnail of each wanted image that can be decoded; if a key repeats, of the first image."""
    left, found = {*wanted}, {}
    for sample in samples:
        if sample.key in left:
            left.remove(sample.key)
            try:
                found[sample.key] = _jpeg(decode_image(sample))
            except BadSample:
                continue
        if not left:
            break
    return found


def _jpeg(image: Image) -> bytes:
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return out.getvalue()
