"""The captions of a handful of images, what was kept of them and what was left out (the paper's Figure A8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.typed import typed
from capivara_cli.reports.page.caption_journey import DataFolder, Fate, Journey, counts_of, journeys
from capivara_cli.reports.page.markup import Section, Table, code, escaped, language, missing, picture
from capivara_cli.reports.page.read_run import Run
from capivara_cli.shards.images import decode_image

_IMAGES = 6
_MOST = 12  # captions of one language that are listed


def captions(run: Run, stages: Sequence[DataFolder]) -> Section:
    """Images from the shards that led to the run; how to get them where there are none."""
    title = "From captions to training data"
    found = journeys(stages, _IMAGES, run.languages)
    if not found:
        text = "The shards this run was trained on are not beside it. Name their folders, the earliest and the last:"
        return Section("captions", title, "", missing(text, f"capivara report {run.path} --shards PACKED,TRAIN"))
    cards = "".join(_card(journey) for journey in found)
    body = f'{_stages(stages)}<div class="cards">{cards}</div>{_counts(stages)}{_more(run, stages)}'
    intro = (
        "Every caption of an image with its image-text score, where there is one, and who wrote it. What is struck "
        "through was left out on the way to training, with the reason where it can be told."
    )
    return Section("captions", title, intro, body)


def _stages(stages: Sequence[DataFolder]) -> str:
    items = "".join(
        f"<li><code>{escaped(stage.folder.name)}</code> {escaped(' → '.join(stage.names) or 'as they came')}"
        f"{' <b>left out</b>' if stage.rejects else ''}</li>"
        for stage in stages
    )
    return f"<p class='soft'>Compared:</p><ul class='stages'>{items}</ul>"


def _card(journey: Journey) -> str:
    try:
        image = picture(decode_image(journey.sample), 240, journey.key)
    except BadSample as error:
        image = f"<p class='note'>{escaped(error.reason)}</p>"
    dropped = f"<p class='verdict lost'>left out: {escaped(journey.dropped)}</p>" if journey.dropped else ""
    order = list(dict.fromkeys(fate.caption.lang for fate in journey.fates))
    ranked = sorted(journey.fates, key=lambda fate: (order.index(fate.caption.lang), bool(fate.dropped)))
    groups = "".join(_group(lang, list(own)) for lang, own in groupby(ranked, key=lambda fate: fate.caption.lang))
    kept = len(journey.fates) - journey.n_dropped
    head = f"<b>{escaped(journey.key)}</b><span>{kept} of {len(journey.fates)} captions kept</span>"
    return f"<article><figure>{image}<figcaption>{head}</figcaption></figure>{dropped}{groups}</article>"


def _group(lang: str, fates: Sequence[Fate]) -> str:
    items = "".join(_item(fate) for fate in fates[:_MOST])
    more = f"<li class='soft'>… and {len(fates) - _MOST} more</li>" if len(fates) > _MOST else ""
    return f"<h4>{escaped(language(lang))}</h4><ul class='fates'>{items}{more}</ul>"


def _item(fate: Fate) -> str:
    each = fate.caption
    number = "" if each.score is None else f"<data value='{each.score}'>{each.score:.3f}</data> "
    text = f"<span class='text' lang='{escaped(each.lang)}' dir='auto'>{escaped(each.text)}</span>"
    why = f" <span class='why'>{escaped(fate.dropped)}</span>" if fate.dropped else ""
    kind = " class='gone'" if fate.dropped else ""
    return f"<li{kind}>{text}<small>{number}{escaped(each.by)}{why}</small></li>"


def _counts(stages: Sequence[DataFolder]) -> str:
    rows = counts_of(stages)
    if not rows:
        return ""
    table = Table(["step|", "images read", "left out or noted|", "count"])
    for step, read, what, number in rows:
        table.add([f"<code>{escaped(step)}</code>", f"{read:,}", escaped(what), f"{number:,}"])
    return f"<h3>Over all images</h3>{table.to_html()}"


def _more(run: Run, stages: Sequence[DataFolder]) -> str:
    """How to see what one command did in one go: keep the captions from before they are filtered."""
    history = run.document.get("history") or []
    names = [step.get("step") for step in history]
    removing = [place for place, name in enumerate(names) if name in ("filter", "dedupe")]
    seen = {len(stage.history) for stage in stages if not stage.rejects}
    starts = [length for length in seen if removing and 0 < length < removing[0]]
    if not removing or removing[0] in seen or not starts:
        return ""
    start = max(starts)
    folder = next(stage.folder for stage in stages if len(stage.history) == start)
    between = " | ".join(typed(str(step["step"]), step.get("options") or {}) for step in history[start : removing[0]])
    last = max(stages, key=lambda stage: (not stage.rejects, len(stage.history))).folder
    all_captions = f"{folder}-captioned"
    note = "Captions that were written and left out within one command are in no folder. To see them too:"
    return f"<p class='note'>{note}</p>" + code(
        f"capivara run '{between}' {folder} --out {all_captions}",
        f"capivara report {run.path} --shards {folder},{all_captions},{last}",
    )
