"""Before and after: what adapting did to each language, over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.evaluation.compare import Row


def before_and_after(found: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """One row per set and language: mean recall of the first model, and mean and std over all the others, in percent.

    The others are runs that differ in their seed; ``std`` is the sample standard deviation, None for one run.
    """
    rows = found["retrieval"]
    story = []
    for name, lang in dict.fromkeys((row["set"], row["lang"]) for row in rows):
        before, *after = [row["mean_recall"] for row in rows if (row["set"], row["lang"]) == (name, lang)]
        if not after:
            continue
        mean = statistics.fmean(after)
        std = statistics.stdev(after) if len(after) > 1 else None
        story.append(
            {"set": name, "lang": lang, "baseline": before, "adapted": mean, "std": std, "gain": mean - before}
        )
    return story


def spread(found: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """One row per set: the disparity over its languages before, and its mean over the runs after, in points."""
    rows = [row for row in found["disparity"] if row["score"] == "mean_recall"]
    spreads = []
    for name in dict.fromkeys(row["set"] for row in rows):
        before, *after = [row for row in rows if row["set"] == name]
        if after:
            changed = {key: (before[key], statistics.fmean(row[key] for row in after)) for key in ("range", "std")}
            spreads.append({"set": name, **changed})
    return spreads


def story_text(found: dict[str, list[Row]], target: str) -> str:
    """The before-and-after table for people, the taught language marked."""
    return "\n\n".join([_table(before_and_after(found), target), *_spread_lines(spread(found))])


def _table(story: Sequence[dict[str, Any]], target: str) -> str:
    seeds = any(row["std"] is not None for row in story)
    body = [
        [
            f"{row['lang']} ←" if row["lang"] == target else row["lang"],
            row["set"],
            f"{row['baseline']:.1f}",
            f"{row['adapted']:.1f}" + (f" ± {row['std']:.1f}" if seeds else ""),
            f"{row['gain']:+.1f}",
        ]
        for row in story
    ]
    return "mean recall (R@1/5/10, both directions), percent\n" + console.table(
        body, ["lang", "set", "baseline", "adapted", "gain"]
    )


def _spread_lines(spreads: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"disparity between languages on {row['set']}: range {row['range'][0]:.1f} → {row['range'][1]:.1f}, "
        f"std {row['std'][0]:.1f} → {row['std'][1]:.1f} points"
        for row in spreads
    ]
