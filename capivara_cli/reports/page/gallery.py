"""Retrieval examples: the images found for the same queries before and after (the paper's Figures A6 and A7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capivara_cli.errors import BadSample
from capivara_cli.evaluation.examples import VERDICTS
from capivara_cli.reports.page.command_lines import eval_command
from capivara_cli.reports.page.findings import Findings
from capivara_cli.reports.page.markup import Section, escaped, folded, folds, language, missing, picture
from capivara_cli.reports.page.read_run import Run
from capivara_cli.shards.images import decode_image

Entry = dict[str, Any]
_SETS = 4
_OPEN = 1
_LARGE, _SMALL = 200, 96  # pixels
_WORDS = {
    "gained": "found after adaptation only",
    "lost": "found by the base model only",
    "kept": "found by both",
    "missed": "found by neither",
}


def gallery(found: Findings) -> Section:
    """Successes and failures both ways, in the language that was taught."""
    run, title = found.variant.first, "Retrieval examples"
    adapted = found.variant.runs
    entries = [entry for entry in run.examples if entry["lang"] in found.taught] or run.examples
    if not entries:
        text = "No examples were kept: capivara eval writes them into the run folder."
        return Section("examples", title, "", missing(text, eval_command(found.variant.runs)))
    intro = (
        "Queries drawn by chance from those that only the adapted model gets right, only the base model, both, and "
        "neither: right means among the first five. The right one has a frame; the number is its rank."
    )
    body = folds(
        folded(_title(entry), _Entry(entry, run, adapted).to_html(), opened=number < _OPEN)
        for number, entry in enumerate(entries[:_SETS])
    )
    if len(entries) > _SETS:
        named = ", ".join(f"{entry['set']} ({entry['lang']})" for entry in entries[_SETS:])
        body += f'<p class="note">Not shown: {escaped(named)}; they are in {escaped(str(run.path))}/examples</p>'
    return Section("examples", title, intro, body)


def _title(entry: Entry) -> str:
    place = f"{entry['set']} ({entry['split']})" if entry["split"] else entry["set"]
    return f"<b>{escaped(place)}</b> <small>{escaped(language(entry['lang']))}</small>"


class _Entry:
    """One set in one language."""

    def __init__(self, entry: Entry, run: Run, adapted: Sequence[Run]) -> None:
        self.entry = entry
        self.first, self.last = entry["models"][0], entry["models"][-1]
        own = [model for model in entry["models"][1:] if any(each.is_model(model) for each in adapted)]
        self.shown = self.last if self.last in own or not own else own[-1]
        self.sides = [("before", self.first), ("after", self.shown)][self.shown == self.first :]
        self.folder = run.path / "examples"
        self.files: dict[str, str] = entry.get("images", {})
        self.pictures: dict[tuple[str, int, str], str] = {}
        self.lacking = False

    def to_html(self) -> str:
        ways = [
            ("Text to image", "text_to_image", self._text),
            ("Image to text", "image_to_text", self._image),
        ]
        html = ""
        for title, way, shown in ways:
            cards = "".join(shown(query) for query in self.entry[way])
            html += f"<h3>{title}</h3>{self._counts(way)}<div class='queries'>{cards}</div>"
        if self.lacking:
            html += (
                '<p class="note">A dashed square stands for an image that could not be read when these were kept.</p>'
            )
        return html

    def _counts(self, way: str) -> str:
        counts = self.entry.get("counts", {}).get(way)
        if not counts or self.shown != self.last:
            return ""
        total = sum(counts.values()) or 1
        parts = [
            f"{_WORDS[name]}: {counts.get(name, 0):,} ({100 * counts.get(name, 0) / total:.0f} %)" for name in VERDICTS
        ]
        return f'<p class="note">Of all {total:,} queries, {escaped("; ".join(parts))}.</p>'

    def _text(self, query: Entry) -> str:
        rows = ""
        for when, model in self.sides:
            hits = [
                self._thumb(hit["key"], _SMALL, "right" if hit["key"] == query["key"] else "")
                for hit in query["found"][model]
            ]
            rows += f"<div class='side'>{self._rank(when, model, query)}<div class='strip'>{''.join(hits)}</div></div>"
        head = f"<p class='caption' lang='{escaped(self.entry['lang'])}' dir='auto'>{escaped(query['text'])}</p>"
        about = f"<div>{self._verdict(query)}{head}</div>"
        asked = f"<div class='asked'>{self._thumb(query['key'], _LARGE, 'right')}{about}</div>"
        return f"<article class='query'>{asked}{rows}</article>"

    def _image(self, query: Entry) -> str:
        lang = escaped(self.entry["lang"])
        own = "".join(f"<li lang='{lang}' dir='auto'>{escaped(text)}</li>" for text in query["captions"][:5])
        rows = ""
        for when, model in self.sides:
            hits = "".join(
                f"<li lang='{lang}' dir='auto'{_RIGHT if hit.get('right') else ''}>{escaped(hit['text'])} "
                f"<small>{hit['score']:.3f}</small></li>"
                for hit in query["found"][model]
            )
            rows += f"<div class='side'>{self._rank(when, model, query)}<ol class='texts'>{hits}</ol></div>"
        about = f"<div>{self._verdict(query)}<ul class='own'>{own}</ul></div>"
        asked = f"<div class='asked'>{self._thumb(query['key'], _LARGE)}{about}</div>"
        return f"<article class='query'>{asked}{rows}</article>"

    def _verdict(self, query: Entry) -> str:
        """As eval gave it to its last model, or that of the model which is shown instead."""
        verdict = query["verdict"]
        if self.shown != self.last:
            few = max(len(hits) for hits in query["found"].values())
            before, after = (query["rank"][model] <= few for model in (self.first, self.shown))
            verdict = {(False, True): "gained", (True, False): "lost", (True, True): "kept"}.get(
                (before, after), "missed"
            )
        return f"<p class='verdict {verdict}'>{_WORDS[verdict]}</p>"

    def _rank(self, when: str, model: str, query: Entry) -> str:
        return (
            f"<p class='rank'><b>{when}</b> <span title='{escaped(model)}'>rank {query['rank'][model]:,.0f}</span></p>"
        )

    def _thumb(self, key: str, longest: int, kind: str = "") -> str:
        name = (key, longest, kind)
        if name not in self.pictures:
            self.pictures[name] = _picture(self.folder / self.files[key], *name) if key in self.files else ""
        if not self.pictures[name]:
            self.lacking = True
            return f"<span class='lacking {kind}' title='{escaped(key)}'></span>"
        return self.pictures[name]


_RIGHT = " class='right'"


def _picture(path: Path, key: str, longest: int, kind: str) -> str:
    """The image of a file, "" when it is gone or damaged."""
    try:
        return picture(decode_image(path.read_bytes()), longest, key, kind)
    except (OSError, BadSample):
        return ""
