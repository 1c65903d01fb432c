"""Find images by a sentence in your language.

The first search embeds the images, or takes the embeddings that filter stored, and keeps an index on this machine.
Results are text with captions; kitty, iTerm2 and WezTerm show the images too, and --html writes a page.

Arguments:
    QUERY: a sentence; none with --image or --queries
    SHARDS: where to search: folders, .tar files, patterns, URLs; without any, shards/

Examples:
    capivara search "um cachorro na praia" shards --model runs/pt
    capivara search "a red circle" shards --model toy --k 5
    capivara search --image photo.jpg shards --html similar.html
"""

from __future__ import annotations

import functools
import os
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from capivara_cli import console, languages, registry
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages
from capivara_cli.pipeline.options import COSTS, MODEL, RESULTS, SPEED, opt, output, parsed
from capivara_cli.pipeline.source import packed_shards
from capivara_cli.shards.names import is_shard_name
from capivara_cli.storage.files import replace_text
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from PIL.Image import Image

    from capivara_cli.commands.searching.exact import Floats, SearchHits
    from capivara_cli.commands.searching.index import Index
    from capivara_cli.commands.searching.query import Query
    from capivara_cli.commands.searching.results import Answer
    from capivara_cli.models.clip import Clip

_EXAMPLE = 'capivara search "um cachorro na praia" shards/ --model runs/pt'
_STREAM = "-"


@dataclass(frozen=True)
class Options:
    model: str = opt("", "model, or run folder [default: xlm-roberta-base-ViT-B-32]", reads="model", panel=MODEL)
    pretrained: str = opt("", "open_clip weights of --model", reads="model", panel=MODEL)
    lang: str = opt(
        "auto",
        "language of the query; auto: that of the run",
        kind=Languages("auto", one=True, unlisted=True),
    )
    k: int = opt(10, "images to show for each query", min=1)
    image: str = opt("", "search with this image, instead of a sentence", reads="files", metavar="FILE")
    queries: str = opt("", "file with a query per line; -: standard input", reads="files", metavar="FILE")
    index: Literal["auto", "exact", "faiss"] = opt(
        "auto", "exact, faiss (approximate); auto: faiss beyond a million", panel=SPEED
    )
    html: str = output("", "write a page with thumbnails")
    inline: Literal["auto", "on", "off"] = opt(
        "auto", "images in the terminal: on, off; auto: if it can", panel=RESULTS
    )
    translator: str = opt(
        "auto", "for models trained on translated queries; auto: Argos", reads="translators", panel=MODEL,
        metavar="NAME",
    )  # fmt: skip


@dataclass(frozen=True)
class _SearchRequest:
    """The sentences to search for, or the bytes of an image, and the shards to search in."""

    texts: list[str]
    image: bytes | None
    inputs: list[str]


@command("search", Options, "QUERY [SHARDS]", settings=("device", "max_failures", *COSTS))
def search(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Show the ``k`` best images for each query, in the terminal or as an HTML page."""
    request = _request(inputs, options)
    lang = _language(options)
    shards = packed_shards(request.inputs)
    draw = _image_drawer(options, env)
    if options.translator != "auto":
        registry.check("translators", options.translator)

    from capivara_cli.commands.searching.index import open_index
    from capivara_cli.commands.searching.results import answers

    clip = _model(options, env)
    queries, vectors = _embedded(request, lang, clip, options, env)
    with open_index(shards, clip, env) as index:
        started = time.monotonic()
        found, kind = _best(index, vectors, options)
        seconds = time.monotonic() - started
        every = answers(index, queries, found, lang)
        if options.html:
            results = _write_page(every, request, lang, len(index), options)
        else:
            results = _show(every, draw, env)
        _say(index, len(queries), kind, seconds)
        return {
            "results": results,
            "images": len(index),
            "computed": 0 if index.reused else index.document["computed"],
            "dropped": index.document["dropped"],
            "index": kind,
            "search_seconds": round(seconds, 6),
            **({"html": options.html} if options.html else {}),
        }


def _request(inputs: list[str], options: Options) -> _SearchRequest:
    """What to search for, and where. Raises ``UsageError`` when there is no query, or more than one kind of query."""
    from capivara_cli.pipeline.source import DEFAULT_INPUT, default_inputs

    if options.image and options.queries:
        raise UsageError("--image and --queries do not go together", _EXAMPLE)
    if options.queries == _STREAM and _STREAM in inputs:
        raise UsageError("--queries -: the shards are read from standard input", "write the queries to a file")
    if options.image or options.queries:
        from capivara_cli.commands.searching.query import read_image, read_queries

        if options.image:
            return _SearchRequest([], read_image(options.image), default_inputs(inputs))
        shards = [DEFAULT_INPUT] if options.queries == _STREAM and not inputs else default_inputs(inputs)
        return _SearchRequest(read_queries(options.queries), None, shards)
    if not inputs or (len(inputs) == 1 and _holds_shards(inputs[0])):
        where = f" for {inputs[0]}" if inputs else ""
        raise UsageError(f"search: no query{where}", _EXAMPLE)
    if not inputs[0].strip():
        raise UsageError("search: the query is empty", _EXAMPLE)
    return _SearchRequest([inputs[0].strip()], None, default_inputs(inputs[1:]))


def _holds_shards(text: str) -> bool:
    path = Path(text)
    return is_shard_name(path.name) or (path.is_dir() and any(is_shard_name(each.name) for each in path.iterdir()))


def _language(options: Options) -> str:
    """The code of the query's language, "" when it is not known."""
    if found := parsed(options, "lang"):
        return found[0]
    if not (Path(options.model) / "run.json").is_file():
        return ""
    from capivara_cli.models.run_folder import open_run

    trained = languages.codes(str(open_run(Path(options.model)).document["request"].get("lang", "")))
    return trained[0] if len(trained) == 1 else ""


def _model(options: Options, env: Env) -> Clip:
    from capivara_cli.models.clip import load_once
    from capivara_cli.models.clip_files import DEFAULT_MODEL, check_model

    name = options.model or DEFAULT_MODEL
    check_model(name, options.pretrained)
    return load_once(env, name, options.pretrained)


def _embedded(request: _SearchRequest, lang: str, clip: Clip, options: Options, env: Env) -> tuple[list[Query], Floats]:
    """The queries, and their embeddings [Q, dim]."""
    from capivara_cli.commands.searching.query import Query, embed_queries
    from capivara_cli.evaluation.set_translator import SetTranslator
    from capivara_cli.models.image_vectors import embed_to_compare, pixels

    if request.image is not None:
        (vector,) = embed_to_compare(clip, [pixels(clip, request.image)])
        return [Query(options.image, options.image)], vector[None]

    def translate(source: str, target: str) -> SetTranslator:
        return SetTranslator(options.translator, source, target, env)

    return embed_queries(request.texts, lang, clip, translate)


def _best(index: Index, vectors: Floats, options: Options) -> tuple[SearchHits, str]:
    """The best images for each query, and the kind of search: "exact" or "faiss"."""
    from capivara_cli.commands.searching import approximate, exact

    large = len(index) > approximate.LARGE
    if options.index == "auto" and large and not approximate.installed():
        console.warn(f"comparing with {len(index):,} images one by one", f"faiss is faster: {approximate.INSTALL}")
        large = False
    if options.index == "faiss" or (options.index == "auto" and large):
        return approximate.best(index, vectors, options.k), "faiss"
    return exact.best(index.features, vectors, options.k), "exact"


def _image_drawer(options: Options, env: Env) -> Callable[[Image], str] | None:
    """A function that turns an image into an escape sequence for this terminal; None to show no images there."""
    if options.inline == "off" or options.html or env.json:
        return None
    from capivara_cli.commands.searching import terminal_images as inline

    terminal = console.is_terminal()
    protocol = inline.protocol(os.environ) if terminal else ""
    if protocol:
        return functools.partial(inline.escape_sequence, protocol=protocol)
    if options.inline == "on":
        why = f"this terminal (TERM={os.environ.get('TERM', '')}) is not kitty, Ghostty, iTerm2, WezTerm or mintty"
        raise CapivaraError(
            f"--inline on: {why if terminal else 'standard output is not a terminal'}", "--html page.html shows images"
        )
    return None


def _show(answers: Iterable[Answer], draw: Callable[[Image], str] | None, env: Env) -> list[dict[str, Any]]:
    """Show one answer after the other, so that only one answer's images are in memory. Return all of them as JSON."""
    from capivara_cli.commands.searching import results

    shown = []
    for answer in answers:
        shown.append(answer.to_json())
        if not env.json:
            console.print_result("".join(f"{line}\n" for line in results.lines(answer, draw)))
    return shown


def _write_page(
    answers: Iterable[Answer], request: _SearchRequest, lang: str, searched: int, options: Options
) -> list[dict[str, Any]]:
    """Write the page of ``--html`` with all answers. Return them as JSON."""
    from capivara_cli.commands.searching import results
    from capivara_cli.models.clip_files import DEFAULT_MODEL
    from capivara_cli.reports.search_page import search_page

    asked = results.query_picture(request.image) if request.image is not None else None
    shown, sections = [], []
    for answer in answers:
        shown.append(answer.to_json())
        sections.append(results.page_section(answer, _command_line(answer, request, options), lang, asked))
    page = search_page(sections, searched=searched, model=options.model or DEFAULT_MODEL)
    replace_text(Path(options.html), page)
    console.say(f"capivara search: {_count(len(shown), 'query', 'queries')} in {options.html}")
    return shown


def _command_line(answer: Answer, request: _SearchRequest, options: Options) -> str:
    """The command that gives this answer alone."""
    what = ["--image", options.image] if options.image else [answer.query.typed]
    lang = "" if options.lang == "auto" else options.lang
    given = [
        ("--model", options.model),
        ("--pretrained", options.pretrained),
        ("--lang", lang),
        ("--k", str(options.k)),
    ]
    flags = [word for flag, value in given if value for word in (flag, value)]
    return shlex.join(["capivara", "search", *what, *map(public_url, request.inputs), *flags])


def _say(index: Index, queries: int, kind: str, seconds: float) -> None:
    document = index.document
    if document["dropped"]:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in document["dropped"].items())
        console.warn(f"not searched: {sum(document['dropped'].values()):,} samples ({reasons})")
    computed = document["computed"]
    origin = "index reused" if index.reused else f"embedded now: {computed:,}, stored: {len(index) - computed:,}"
    console.say(
        f"capivara search: {_count(queries, 'query', 'queries')}, {_count(len(index), 'image', 'images')} ({origin}), "
        f"{kind}, {seconds * 1000:,.1f} ms"
    )


def _count(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
