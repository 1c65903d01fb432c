"""Look at samples: their captions in every language, who wrote them, their scores, and how the shards were made.

It prints plain text to the terminal or into a pipe. --html writes a page with thumbnails.

Examples:
    capivara show shards
    capivara show shards --n 20 --lang pt,en
    capivara show shards --html samples.html
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import BadSample
from capivara_cli.languages import code_of
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.command_text import step_texts
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages
from capivara_cli.pipeline.options import COSTS, opt, output, parsed
from capivara_cli.reports.samples_page import PageSection, View, by_language, html_page
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.storage.files import replace_text
from capivara_cli.urls import public_url

LONGEST = 400
"""Characters of one caption on a terminal."""


@dataclass(frozen=True)
class Options:
    """What to show of which samples."""

    n: int = opt(5, "samples to show, from the start", min=1)
    lang: str = opt("", "captions in these languages only [default: all]", kind=Languages("all", unlisted=True))
    html: str = output("", "write a page with thumbnails")

    @property
    def codes(self) -> set[str]:
        return set(parsed(self, "lang"))


@command("show", Options, settings=COSTS)
def show(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Show the first samples of the inputs. A damaged sample is shown with its problem."""
    from capivara_cli.pipeline.source import Source

    codes = options.codes
    source = Source(inputs, env)
    samples = list(itertools.islice(source, options.n))
    views = [_view(sample, codes, pixels=bool(options.html)) for sample in samples]
    steps = step_texts(source.history)
    if options.html:
        replace_text(Path(options.html), html_page([PageSection(_title(source.shards), steps, views)]))
        console.say(f"capivara show: {len(views):,} sample{'s' * (len(views) != 1)} in {options.html}")
    elif not env.json:
        console.print_result("".join(f"{line}\n" for line in _lines(steps, views)))
    if codes and not any(view.captions for view in views):
        _warn_of_no_captions(samples, options.lang)
    return {
        "history": source.history,
        "samples": [
            {"key": view.key, "facts": view.facts, "captions": [each.to_json() for each in view.captions]}
            | ({"problem": view.problem} if view.problem else {})
            for view in views
        ],
        **({"html": options.html} if options.html else {}),
    }


def _title(shards: Sequence[str]) -> str:
    named = ["standard input" if shard == "-" else public_url(shard) for shard in shards[:3]]
    return ", ".join(named) + (" …" if len(shards) > 3 else "")


def _view(sample: Sample, codes: set[str], *, pixels: bool) -> View:
    from capivara_cli.reports.pictures import THUMBNAIL, picture
    from capivara_cli.shards.images import decode_image, image_size

    problems = []
    captions: list[Caption] = []
    spoken: dict[str, str] = {}
    image = None
    facts = ", ".join(f"{suffix or 'no suffix'} {console.size(len(data))}" for suffix, data in sample.members.items())
    try:
        captions = [each for each in sample.captions if not codes or code_of(each.lang) in codes]
        spoken = {each.text: each.lang for each in sample.captions}
    except BadSample as error:
        problems.append(error.reason)
    try:
        width, height = image_size(sample)
        facts = f"{width} × {height}, {facts}"
        image = picture(decode_image(sample), THUMBNAIL) if pixels else None
    except BadSample as error:
        problems.append(error.reason)
    return View(sample.key, facts, captions, image, "; ".join(problems), spoken)


def _lines(steps: Sequence[str], views: Sequence[View]) -> Iterator[str]:
    for number, step in enumerate(steps, start=1):
        yield f"{'made by' if number == 1 else '       '} {number}. {_plain(step)}"
    for view in views:
        yield ""
        yield _plain(f"{view.key}  ({view.facts})")
        if view.problem:
            yield f"  ! {_plain(view.problem)}"
        if not view.captions and not view.problem:
            yield "  no captions"
        scored = any(each.score is not None for each in view.captions)
        for lang, captions in by_language(view.captions):
            for number, each in enumerate(captions):
                yield from _caption_lines(lang if number == 0 else "", each, scored)


def _caption_lines(lang: str, each: Caption, scored: bool) -> Iterator[str]:
    score = "" if not scored else "       " if each.score is None else f"{each.score:6.3f} "
    yield f"  {_plain(lang):<4} {score}{_plain(each.text)}  [{_plain(each.by)}]"
    if each.of:
        yield f"       {' ' * len(score)}← {_plain(each.of)}"


def _plain(text: str) -> str:
    return console.one_line(text, LONGEST)


def _warn_of_no_captions(samples: Sequence[Sample], wanted: str) -> None:
    """Say that no caption is in the languages ``wanted``, and which languages there are."""
    languages: dict[str, None] = {}
    for sample in samples:
        try:
            languages.update(dict.fromkeys(each.lang for each in sample.captions))
        except BadSample:
            continue
    known = ", ".join(languages) or "no language"
    console.warn(f"no captions in {wanted} among these samples; there are captions in {known}")
