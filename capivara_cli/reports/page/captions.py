"""The captions of a few images: which were kept for training and which were dropped (the paper's Figure A8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.command_text import command_text
from capivara_cli.reports.page.caption_history import CaptionHistory, DataFolder, caption_histories, counts_of
from capivara_cli.reports.page.formats import language
from capivara_cli.reports.page.read_run import Run
from capivara_cli.reports.page.section import Missing, Section
from capivara_cli.reports.pictures import picture
from capivara_cli.reports.tables.table import Table, cells, columns
from capivara_cli.shards.images import decode_image

_IMAGES = 6
_MOST = 12  # captions shown per language


def captions(run: Run, folders: Sequence[DataFolder]) -> Section:
    """Show images from the shards that led to the run, or say how to find them."""
    title = "From captions to training data"
    found = caption_histories(folders, _IMAGES, run.languages)
    if not found:
        text = "The training shards of this run are not beside it. Name the first and the last folder of shards:"
        missing = Missing(text, f"capivara report {run.path} --shards PACKED,TRAIN")
        return Section("captions", title, missing=missing)
    intro = (
        "All captions of some images, each with its author and, if known, its image-text score. A caption that is "
        "struck through was dropped before training; the reason stands beside it if it is known."
    )
    values = {
        "folders": folders,
        "cards": [_card(history) for history in found],
        "most": _MOST,
        "counts": _counts(folders),
        "commands": _commands_that_keep_all(run, folders),
    }
    return Section("captions", title, intro, values)


def _card(history: CaptionHistory) -> dict[str, Any]:
    image, problem = None, ""
    try:
        image = picture(decode_image(history.sample), 240, history.key)
    except BadSample as error:
        problem = error.reason
    order = list(dict.fromkeys(status.caption.lang for status in history.statuses))
    ranked = sorted(history.statuses, key=lambda status: (order.index(status.caption.lang), bool(status.dropped)))
    groups = [(language(lang), list(own)) for lang, own in groupby(ranked, key=lambda status: status.caption.lang)]
    kept = f"{len(history.statuses) - history.n_dropped} of {len(history.statuses)} captions kept"
    about = {"key": history.key, "kept": kept, "dropped": history.dropped, "groups": groups}
    return {"picture": image, "problem": problem, **about}


def _counts(folders: Sequence[DataFolder]) -> Table | None:
    rows = [cells([step, f"{read:,}", what, f"{number:,}"]) for step, read, what, number in counts_of(folders)]
    headings = columns(["step", "images read", "dropped or noted", "count"], ("step", "dropped or noted"))
    return Table.of_rows("All images", headings, rows) if rows else None


def _commands_that_keep_all(run: Run, folders: Sequence[DataFolder]) -> list[str]:
    """The commands that also show captions which were written and dropped within one command; [] if there are none."""
    history = run.document.get("history") or []
    names = [step.get("step") for step in history]
    removing = [place for place, name in enumerate(names) if name in ("filter", "dedupe")]
    seen = {len(folder.history) for folder in folders if not folder.rejects}
    starts = [length for length in seen if removing and 0 < length < removing[0]]
    if not removing or removing[0] in seen or not starts:
        return []
    start = max(starts)
    start_path = next(folder.path for folder in folders if len(folder.history) == start)
    steps = history[start : removing[0]]
    between = " | ".join(command_text(str(step["step"]), step.get("options") or {}) for step in steps)
    last = max(folders, key=lambda folder: (not folder.rejects, len(folder.history))).path
    all_captions = f"{start_path}-captioned"
    return [
        f"capivara run '{between}' {start_path} --out {all_captions}",
        f"capivara report {run.path} --shards {start_path},{all_captions},{last}",
    ]
