"""Samples as one self-contained HTML page: thumbnails inline, captions by language, no script, light and dark."""

from __future__ import annotations

import base64
import html
import io
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from capivara_cli.shards.sample import Caption

THUMBNAIL = 160  # pixels, the longer side


@dataclass(frozen=True)
class View:
    """What there is to see of one sample; ``problem`` says why ``image`` (a decoded RGB image) or captions lack."""

    key: str
    facts: str
    captions: Sequence[Caption]
    image: Any = None
    problem: str = ""


def by_language(captions: Iterable[Caption]) -> list[tuple[str, list[Caption]]]:
    """Captions grouped by language, languages in the order of their first caption, captions in theirs."""
    captions = list(captions)
    order = {lang: place for place, lang in reversed(list(enumerate(each.lang for each in captions)))}
    ordered = sorted(captions, key=lambda each: order[each.lang])
    return [(lang, list(group)) for lang, group in groupby(ordered, key=lambda each: each.lang)]


def html_page(title: str, steps: Sequence[str], views: Iterable[View]) -> str:
    """The whole page. Every text is escaped, and shown in its own direction."""
    made = f"<ol>{''.join(f'<li><code>{escaped(step)}</code></li>' for step in steps)}</ol>" if steps else ""
    cards = "\n".join(_card(view) for view in views)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escaped(title)}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<header><h1>{escaped(title)}</h1>{made}</header>\n"
        f"<main>\n{cards}\n</main>\n</body>\n</html>\n"
    )


def _card(view: View) -> str:
    groups = "".join(_group(lang, captions) for lang, captions in by_language(view.captions))
    problem = f'<p class="problem">{escaped(view.problem)}</p>' if view.problem else ""
    picture = ""
    if view.image is not None:
        data, (width, height) = _thumbnail(view.image)
        picture = f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="">'
    return (
        f"<article><figure>{picture}<figcaption><b>{escaped(view.key)}</b><span>{escaped(view.facts)}</span></figcaption>"
        f"</figure>{problem}{groups}</article>"
    )


def _group(lang: str, captions: Sequence[Caption]) -> str:
    items = "".join(f"<li>{_caption(each)}</li>" for each in captions)
    return f"<section><h2>{escaped(lang)}</h2><ul>{items}</ul></section>"


def _caption(each: Caption) -> str:
    score = f'<data value="{each.score}">{each.score:.3f}</data> ' if each.score is not None else ""
    origin = f' <q dir="auto">{escaped(each.of)}</q>' if each.of else ""
    return (
        f'<p lang="{escaped(each.lang)}" dir="auto">{escaped(each.text)}</p>'
        f"<small>{score}<bdi>{escaped(each.by)}</bdi>{origin}</small>"
    )


def escaped(text: str) -> str:
    """Escaped; control characters and lone surrogates, which HTML and UTF-8 cannot hold, as U+FFFD."""
    allowed = (char if unicodedata.category(char) not in ("Cc", "Cs") or char in "\n\t" else "\ufffd" for char in text)
    return html.escape("".join(allowed))


def _thumbnail(image: Any) -> tuple[str, tuple[int, int]]:
    """Base64 of a small JPEG, and its (width, height)."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return base64.b64encode(out.getvalue()).decode(), small.size


_CSS = """
:root { color-scheme: light dark; --ground: #f6f4ef; --card: #fff; --ink: #1d1b18; --soft: #6b655c; --line: #e2ddd3;
  --accent: #8a4b16; --alarm: #a3211b; }
@media (prefers-color-scheme: dark) { :root { --ground: #171614; --card: #211f1c; --ink: #ece8e1; --soft: #a49d92;
  --line: #37332d; --accent: #e0a26a; --alarm: #ff8f85; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem); background: var(--ground); color: var(--ink);
  font: 1rem/1.45 system-ui, "Noto Sans", sans-serif; }
header { margin-bottom: 1.25rem; }
h1 { font-size: 1.25rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
ol { margin: 0; padding-left: 1.4rem; color: var(--soft); font-size: .85rem; }
code { overflow-wrap: anywhere; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem; min-width: 0; }
figure { display: flex; gap: .8rem; align-items: flex-end; margin: 0 0 .6rem; }
img { border-radius: .3rem; flex: none; max-width: 60%; height: auto; }
figcaption { min-width: 0; font-size: .8rem; }
figcaption b { display: block; font-weight: 600; overflow-wrap: anywhere; }
figcaption span, small { color: var(--soft); }
section { display: grid; grid-template-columns: 2.6rem 1fr; border-top: 1px solid var(--line); padding: .5rem 0 .2rem; }
h2 { font-size: .8rem; font-weight: 600; margin: .2rem 0 0; color: var(--accent); overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; min-width: 0; }
li { margin-bottom: .45rem; }
p { margin: 0; overflow-wrap: anywhere; white-space: pre-line; max-height: 12rem; overflow: auto; }
small { display: block; font-size: .76rem; overflow-wrap: anywhere; }
data { font-variant-numeric: tabular-nums; color: var(--ink); }
q { font-style: italic; }
.problem { color: var(--alarm); font-size: .85rem; }
"""
