"""Retrieval examples: what the same queries find before and after adaptation (the paper's Figures A6 and A7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capivara_cli.errors import BadSample
from capivara_cli.evaluation.examples import VERDICTS
from capivara_cli.reports.page.command_lines import eval_command
from capivara_cli.reports.page.findings import Findings
from capivara_cli.reports.page.formats import language
from capivara_cli.reports.page.read_run import Run
from capivara_cli.reports.page.section import Missing, Section
from capivara_cli.reports.pictures import Picture, picture
from capivara_cli.shards.images import decode_image

Entry = dict[str, Any]
_SETS = 4
_LARGE, _SMALL = 200, 96  # pixels
_WORDS = {
    "gained": "found after adaptation only",
    "lost": "found by the base model only",
    "kept": "found by both",
    "missed": "found by neither",
}


def gallery(found: Findings) -> Section:
    """Show queries that adaptation gained and lost, in the trained languages."""
    run, title = found.variant.first, "Retrieval examples"
    entries = [entry for entry in run.examples if entry["lang"] in found.trained] or run.examples
    if not entries:
        text = "The run folder has no examples. capivara eval writes them:"
        return Section("examples", title, missing=Missing(text, eval_command(found.variant.runs)))
    intro = (
        "Random queries of four kinds: answered by the adapted model only, by the base model only, by both, and by "
        "neither. A query is answered if a correct result is among the first five. A frame marks the correct result; "
        "the number is its rank."
    )
    values = {
        "shown": [_Examples(entry, run, found.variant.runs) for entry in entries[:_SETS]],
        "others": ", ".join(f"{entry['set']} ({entry['lang']})" for entry in entries[_SETS:]),
        "folder": run.path / "examples",
        "words": _WORDS,
        "large": _LARGE,
        "small": _SMALL,
    }
    return Section("examples", title, intro, values)


class _Examples:
    """The examples of one set in one language. ``lacking``: the template used a thumbnail that cannot be read."""

    def __init__(self, entry: Entry, run: Run, adapted: Sequence[Run]) -> None:
        self.entry = entry
        self.place = f"{entry['set']} ({entry['split']})" if entry["split"] else entry["set"]
        self.lang, self.language = entry["lang"], language(entry["lang"])
        self.first, self.last = entry["models"][0], entry["models"][-1]
        own = [model for model in entry["models"][1:] if any(each.is_model(model) for each in adapted)]
        self.shown = self.last if self.last in own or not own else own[-1]
        self.sides = [("before", self.first), ("after", self.shown)][self.shown == self.first :]
        self.folder = run.path / "examples"
        self.files: dict[str, str] = entry.get("images", {})
        self.lacking = False
        self._thumbs: dict[tuple[str, int], Picture | None] = {}

    def counts(self, way: str) -> str:
        """How many of all queries are of each verdict; "" if eval counted them for another model."""
        counts = self.entry.get("counts", {}).get(way)
        if not counts or self.shown != self.last:
            return ""
        total = sum(counts.values()) or 1
        parts = [
            f"{_WORDS[name]}: {counts.get(name, 0):,} ({100 * counts.get(name, 0) / total:.0f} %)" for name in VERDICTS
        ]
        return f"Of all {total:,} queries, {'; '.join(parts)}."

    def verdict(self, query: Entry) -> str:
        """The verdict of eval, which is about its last model; computed here if another model is shown."""
        if self.shown == self.last:
            return query["verdict"]
        few = max(len(hits) for hits in query["found"].values())
        before, after = (query["rank"][model] <= few for model in (self.first, self.shown))
        return {(False, True): "gained", (True, False): "lost", (True, True): "kept"}.get((before, after), "missed")

    def thumb(self, key: str, longest: int) -> Picture | None:
        """The thumbnail of an image; None if its file is gone or damaged."""
        if (key, longest) not in self._thumbs:
            self._thumbs[key, longest] = self._read(key, longest)
        self.lacking |= self._thumbs[key, longest] is None
        return self._thumbs[key, longest]

    def _read(self, key: str, longest: int) -> Picture | None:
        try:
            return picture(decode_image((self.folder / self.files[key]).read_bytes()), longest, key)
        except (KeyError, OSError, BadSample):
            return None
