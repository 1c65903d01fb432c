"""Search results for a terminal, for an HTML page and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capivara_cli import console
from capivara_cli.commands.searching.query import Query
from capivara_cli.errors import BadSample
from capivara_cli.languages import code_of
from capivara_cli.reports.pictures import THUMBNAIL, Picture, picture
from capivara_cli.reports.search_page import FoundImage, SearchSection
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from capivara_cli.commands.searching.exact import SearchHits
    from capivara_cli.commands.searching.index import Index

CAPTIONS = 2  # shown per image on a terminal
LONGEST = 200  # characters of a caption on a terminal
_STREAM = "standard input"


@dataclass(frozen=True)
class Hit:
    """One image found; its captions in the language of the query come first."""

    rank: int
    score: float
    key: str
    shard: str
    sample: Sample
    captions: Sequence[Caption]
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        entry = {"rank": self.rank, "score": round(self.score, 6), "key": self.key, "shard": self.shard}
        entry["captions"] = [caption.to_json() for caption in self.captions]
        return entry | ({"problem": self.problem} if self.problem else {})


@dataclass(frozen=True)
class Answer:
    """The images found for one query, best first."""

    query: Query
    hits: Sequence[Hit]

    def to_json(self) -> dict[str, Any]:
        query = self.query
        translation = {"asked": query.text, "translated_by": query.translator} if query.translator else {}
        return {"query": query.typed, **translation, "hits": [hit.to_json() for hit in self.hits]}


def answers(index: Index, queries: Sequence[Query], found: SearchHits, lang: str) -> Iterator[Answer]:
    """Yield the answer to each query, with the samples read back from their shards."""
    for query, rows, scores in zip(queries, found.rows.tolist(), found.scores.tolist(), strict=True):
        ranked = [(row, score) for row, score in zip(rows, scores, strict=True) if row >= 0]
        yield Answer(query, [_hit(index, rank, row, score, lang) for rank, (row, score) in enumerate(ranked, start=1)])


def _hit(index: Index, rank: int, row: int, score: float, lang: str) -> Hit:
    sample = index.sample(row)
    shard = index.shards[int(index.shard[row])]
    captions: list[Caption] = []
    problem = ""
    try:
        captions = sorted(sample.captions, key=lambda each: code_of(each.lang) != lang) if lang else sample.captions
    except BadSample as error:
        problem = error.reason
    return Hit(rank, score, sample.key, _STREAM if shard == "-" else public_url(shard), sample, captions, problem)


def lines(answer: Answer, draw: Callable[[Any], str] | None = None) -> Iterator[str]:
    """Yield the lines of an answer for a terminal; ``draw`` returns an escape sequence that shows an image."""
    query = answer.query
    yield _plain(query.typed) + (f"  → {_plain(query.text)}  [{_plain(query.translator)}]" if query.translator else "")
    for hit in answer.hits:
        yield f"{hit.rank:>4}  {hit.score:.3f}  {_plain(hit.key)}  {_plain(hit.shard)}"
        if draw is not None:
            yield from _drawn(hit, draw)
        if hit.problem:
            yield f"      ! {_plain(hit.problem)}"
        for caption in hit.captions[:CAPTIONS]:
            yield f"      {_plain(caption.lang):<4} {_plain(caption.text)}"
    yield ""


def _drawn(hit: Hit, draw: Callable[[Any], str]) -> Iterator[str]:
    try:
        yield f"      {draw(decode_image(hit.sample))}"
    except BadSample as error:
        yield f"      ! {_plain(error.reason)}"


def _plain(text: str) -> str:
    return console.one_line(text, LONGEST)


def query_picture(image: bytes) -> Picture:
    """The image of a search by image, for its page."""
    return picture(decode_image(image), THUMBNAIL, "the image searched for")


def page_section(answer: Answer, command: str, lang: str, asked: Picture | None = None) -> SearchSection:
    """Show one answer on an HTML page, under the query in ``lang`` or the image ``asked``, and the command."""
    query = answer.query
    text, into, by = (query.text, query.lang, query.translator) if query.translator else ("", "", "")
    images = [_found(hit) for hit in answer.hits]
    return SearchSection(query.typed, lang, command, images, text, into, by, picture=asked)


def _found(hit: Hit) -> FoundImage:
    image, problem = None, hit.problem
    try:
        image = picture(decode_image(hit.sample), THUMBNAIL, f"image {hit.rank}")
    except BadSample as error:
        problem = "; ".join(filter(None, [problem, error.reason]))
    return FoundImage(hit.rank, hit.score, hit.key, hit.shard, hit.captions, image, problem)
