"""Charts as inline SVG with real text, a transparent background and the colours of the page.

matplotlib draws with placeholder colours. They are replaced by CSS variables of the page, so that a chart follows the
page into dark mode. The same data give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from capivara_cli import console
from capivara_cli.reports.page.formats import MINUS, mark, signed
from capivara_cli.reports.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

INK, SOFT, LINE = "#010101", "#010102", "#010103"
BASE, TUNED, LOSS = "#010104", "#010105", "#010106"
SERIES = ("#010107", "#010108", "#010109", "#01010a")
CARD = "#01010b"
_VARIABLES = {
    INK: "--ink", SOFT: "--soft", LINE: "--line", BASE: "--base", TUNED: "--accent", LOSS: "--alarm",
    SERIES[0]: "--series-1", SERIES[1]: "--series-2", SERIES[2]: "--series-3", SERIES[3]: "--series-4",
    CARD: "--card",
}  # fmt: skip
_STYLE = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 11, "axes.edgecolor": LINE, "text.color": INK,
    "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT, "xtick.major.size": 0, "ytick.major.size": 0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 12, "axes.titlelocation": "left",
    "grid.color": LINE, "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.solid_capstyle": "round",
    "savefig.transparent": True, "axes.labelsize": 10, "legend.fontsize": 10, "figure.constrained_layout.use": True,
}  # fmt: skip


@dataclass(frozen=True)
class BeforeAfter:
    """A score before and after, with its interval (low, high) if known.

    ``significant``: whether they differ significantly, None if that was not tested; ``strong``: the label is bold.
    """

    label: str
    before: float
    after: float
    before_interval: tuple[float, float] | None = None
    after_interval: tuple[float, float] | None = None
    strong: bool = False
    significant: bool | None = None


@dataclass(frozen=True)
class Gain:
    """A difference in points, with its interval (low, high) if known. ``significant``: as in ``BeforeAfter``."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    significant: bool | None = None


def changes(rows: Sequence[BeforeAfter], unit: str, alt: str) -> Markup:
    """Draw each row's score before and after on one axis, with the gain at the right (the paper's Figure 1).

    A score before is a ring, one after a disc. A gain that is not significant is grey and marked.
    """

    def draw(axes: Any) -> None:
        axes.grid(axis="x")
        for place, row in enumerate(rows):
            band = TUNED if row.significant else BASE
            axes.plot([row.before, row.after], [place, place], color=band, alpha=0.3, linewidth=5, zorder=2)
            for value, interval, color, inside in (
                (row.before, row.before_interval, BASE, CARD),
                (row.after, row.after_interval, TUNED, TUNED),
            ):
                if interval:
                    axes.plot(interval, [place, place], color=color, linewidth=1.4, zorder=3)
                axes.plot(value, place, "o", color=color, markerfacecolor=inside, markersize=8, zorder=4)
            _write_gain(axes, place, row.after - row.before, row.significant)
        axes.set_yticks(range(len(rows)), [_plain(row.label) for row in rows])
        for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
            tick.set(color=INK, weight="bold" if row.strong else "normal")
        axes.set(xlim=(0, 100), ylim=(len(rows) - 0.5, -0.6), xlabel=unit)
        axes.spines["left"].set_visible(False)

    return _svg(draw, (4.1, 0.8 + 0.36 * len(rows)), alt)


def _write_gain(axes: Any, place: int, gain: float, significant: bool | None) -> None:
    """Write a gain at the right of its row: in grey and not bold unless it is significant."""
    color = (LOSS if gain < 0 else INK) if significant else SOFT
    axes.text(
        1.02, place, signed(gain) + mark(significant), transform=axes.get_yaxis_transform(), va="center_baseline",
        color=color, weight="bold" if significant else "normal",
    )  # fmt: skip


def gains(rows: Sequence[Gain], unit: str, alt: str) -> Markup:
    """Draw a bar from zero for each row (the paper's Figure A1), a grey one unless it is significant."""

    def draw(axes: Any) -> None:
        axes.grid(axis="x")
        places = range(len(rows))
        colors = [(LOSS if row.value < 0 else TUNED) if row.significant else BASE for row in rows]
        axes.barh(places, [row.value for row in rows], color=colors, height=0.62, zorder=2)
        for place, row in enumerate(rows):
            if row.interval:
                axes.plot(row.interval, [place, place], color=INK, linewidth=1.2, zorder=3)
            _write_gain(axes, place, row.value, row.significant)
        axes.axvline(0, color=SOFT, linewidth=1, zorder=4)
        axes.set_yticks(places, [_plain(row.label) for row in rows], color=INK)
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel=unit)
        axes.spines["left"].set_visible(False)

    return _svg(draw, (4.4, 0.8 + 0.3 * len(rows)), alt)


def bars(rows: Sequence[tuple[str, float, str]], alt: str) -> Markup:
    """Draw a bar for each (label, value, words), with the words at its end."""

    def draw(axes: Any) -> None:
        axes.barh(range(len(rows)), [value for _, value, _ in rows], color=TUNED, height=0.6)
        for place, (_, value, words) in enumerate(rows):
            axes.annotate(words, (value, place), (5, 0), textcoords="offset points", va="center", color=INK)
        axes.set_yticks(range(len(rows)), [_plain(label) for label, _, _ in rows], color=INK)
        most = max((value for _, value, _ in rows), default=0.0) or 1.0
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, most * 1.4), xticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)

    return _svg(draw, (4.5, 0.2 + 0.34 * len(rows)), alt)


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str, alt: str, last: int) -> Markup:
    """Draw (steps, values) of each name from step 0 to the ``last`` one; the first line is the boldest.

    Long lines are thinned.
    """

    def draw(axes: Any) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes.grid(axis="y")
        for number, (name, (steps, values)) in enumerate(series.items()):
            color = TUNED if number == 0 else SERIES[(number - 1) % len(SERIES)]
            steps, values = thinned(steps), thinned(values)
            style: dict[str, Any] = {"marker": "o", "markersize": 4} if len(steps) < 25 else {}
            style |= {"color": color, "linewidth": 2 if number == 0 else 1.3, "clip_on": False}
            axes.plot(steps, values, label=_plain(name), **style)
        axes.set(xlabel="step", ylabel=label, xlim=(0, last))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_ROUND, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=_ROUND))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
        if len(series) > 1:
            axes.legend(
                frameon=False, labelcolor=INK, ncols=min(3, len(series)), loc="lower left", bbox_to_anchor=(0, 1)
            )

    return _svg(draw, (4.4, 2.9), alt)


_ROUND = [1, 2, 5, 10]
"""The distances of ticks, times a power of ten."""


def _tick(value: float) -> str:
    """The label of a tick: 0.00002, 0.5, 1,500."""
    text = f"{value:,.10f}".rstrip("0").rstrip(".").replace("-", MINUS)
    return "0" if text == f"{MINUS}0" else text


MOST_POINTS = 60


def thinned(values: Sequence[float]) -> list[float]:
    """Average neighbours until at most ``MOST_POINTS`` values are left."""
    if len(values) <= MOST_POINTS:
        return list(values)
    edges = [len(values) * part // MOST_POINTS for part in range(MOST_POINTS + 1)]
    return [math.fsum(values[start:end]) / (end - start) for start, end in pairwise(edges)]


def confusion(counts: Sequence[Sequence[int]], names: Sequence[str], alt: str, lang: str = "") -> Markup:
    """Draw a heat map. Each row is a true class; a darker cell has a larger share of that class's images.

    Right and wrong predictions have different colours, and a larger matrix makes a larger chart. ``lang``: the language
    of the names.
    """
    size = len(names)
    cell = round(max(12, min(24, 300 / size)))  # points
    margin = 6.2 * min(18, max(map(len, names), default=1)) + 14
    side = (cell * size + margin) / 72

    def draw(axes: Any) -> None:
        shares = [
            (row, column, count / sum(line))
            for row, line in enumerate(counts)
            for column, count in enumerate(line)
            if count
        ]
        places = [(column, row) for row, column, _ in shares]
        colors = [(*_rgb(TUNED if row == column else LOSS), 0.12 + 0.88 * share) for row, column, share in shares]
        axes.scatter(*zip(*places, strict=True), marker="s", s=(cell - 1) ** 2, c=colors, linewidths=0)
        short = [_plain(name if len(name) <= 18 else f"{name[:17]}…") for name in names]
        axes.set_xticks(range(size), short, rotation=90, color=INK, fontsize=min(10, cell - 3))
        axes.set_yticks(range(size), short, color=INK, fontsize=min(10, cell - 3))
        axes.xaxis.tick_top()
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        share = margin / (margin + cell * size)
        axes.set_position((share, 0.0, 1 - share, 1 - share))
        axes.spines[["left", "bottom"]].set_visible(False)
        for edge in range(size + 1):
            axes.axhline(edge - 0.5, color=LINE, linewidth=0.4, zorder=0)
            axes.axvline(edge - 0.5, color=LINE, linewidth=0.4, zorder=0)

    least = round(side * 72) if size > 20 else 0
    return _svg(draw, (side, side), alt, constrained=False, least=least, lang=lang)


def _rgb(color: str) -> tuple[float, float, float]:
    return (int(color[1:3], 16) / 255, int(color[3:5], 16) / 255, int(color[5:7], 16) / 255)


def _plain(text: str) -> str:
    return console.printable(" ".join(text.split()))


def _svg(
    draw: Callable[[Any], None],
    inches: tuple[float, float],
    alt: str,
    *,
    constrained: bool = True,
    least: int = 0,
    lang: str = "",
) -> Markup:
    """Draw on new axes and return a ``figure`` with an ``svg`` that is at least ``least`` pixels wide."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {**_STYLE, "figure.constrained_layout.use": constrained, "svg.hashsalt": alt}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing|.*does not support .* natively")  # the browser has them
        figure = Figure(figsize=inches)
        draw(figure.add_subplot())
        out = io.StringIO()
        no_metadata = dict.fromkeys(["Date", "Creator", "Format", "Type"])
        figure.savefig(out, format="svg", metadata=no_metadata)
    return _inline(out.getvalue(), alt, least, lang)


_LONG = re.compile(r"(\d\.\d\d)\d+")
"""Numbers with more decimals than are visible."""


def _inline(drawn: str, alt: str, least: int, lang: str) -> Markup:
    """Turn matplotlib's file into an inline ``svg``: no prologue, namespaces, fixed size or unused names."""
    from markupsafe import Markup

    body = drawn[drawn.index("<svg") :]
    head, _, body = body.rpartition("</svg>")[0].partition(">")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    width, height = (box[1], box[2]) if box else ("100", "100")
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</defs>\s*", "", body, flags=re.DOTALL)  # its rules would apply to the whole page
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub("<[^>]*>", lambda tag: _LONG.sub(r"\1", tag[0]), body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    shape = {"width": width, "height": height, "pixels": round(float(width) * 1.25), "least": least}
    drawing = Markup(body.strip())  # matplotlib has escaped the texts in it
    return render("chart.html", alt=alt, body=drawing, lang=lang, **shape)
