"""What is run: captions to train on, and cells, each a way to train on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LANGUAGES = ("pt", "hi", "xh")
PREFIXES = 10
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"lr": 3e-2},
    "adapter": {"peft": "adapter", "lr": 3e-2},
    "compacter": {"peft": "compacter", "compacter_reduction": 8, "lr": 1e-1},
    "soft-prompt": {"peft": "soft-prompt", "lr": 1e-2},
    "lit": {"peft": "lit", "lr": 1e-3},
    "lora-0.01": {"lr": 1e-2},
}
"""All but the last with the best of five learning rates for Portuguese on other scenes, by benchmarks/toy_training.py;
the last shows how much the rate matters with few images."""
ROUTINES = {"none": "native", "native": "native", "mt-source": "aligned", "mt-pivot": "aligned"}
"""Alignment routines, and the captions each needs."""
LIT = METHODS["lit"]
LONG = {"batch_size": 192, "steps": 200}
"""CAPIVARA without the optimisations sees many times the pairs: in the paper eleven, here seven."""
SHOTS = 50
REWRITES = (1, 2, 3, 4)
COUNTS = (50, 200, 1000, 3000)
COUNTED = ("pt", "xh")

_IMAGES = "filter --no-score --level image --on first --lang en --quantile 0.4"
_PT = "filter --no-score --score-by text --lang pt"  # the paper's choice
KEPT = (("text", 5), ("original", 5), ("original", 3))
"""What the captions in a language are judged by, and how many of an image are kept."""
KEPT_IN = ("pt", "hi")
"""A language of which the untaught model knows half, and one of which it knows little."""


@dataclass(frozen=True)
class Captions:
    """Which captions of ``source``, a folder of the world, are trained on.

    English ones: ``alt``, clean ones (``human``), the first ``synthetic`` of each image, so many ``rewrites`` by a
    rewriter, and ``back``, what native ones become in English; with them their translations, if ``translated``, and
    ``native`` ones. ``direct``: written in the language by a captioner. Then the stages of ``plan`` run; {cut} is the
    score that a fifth of the Portuguese captions are below.
    """

    source: str = "world"
    alt: bool = False
    human: bool = False
    synthetic: int = 0
    rewrites: tuple[str, int] = ("", 0)
    back: bool = False
    translated: bool = True
    native: bool = False
    direct: bool = False
    plan: str = ""


def _full(plan: str) -> Captions:
    return Captions(alt=True, synthetic=PREFIXES, plan=plan)


DATA: dict[str, Captions] = {
    "alt": Captions(alt=True),
    "alt-filtered": Captions(alt=True, plan=_IMAGES),
    "synthetic": Captions(synthetic=PREFIXES),
    "synthetic-4": Captions(synthetic=4),
    "synthetic-1": Captions(synthetic=1),
    "capivara": _full(""),
    "capivara-filtered": _full(_IMAGES),
    "rank": _full(f"{_PT} --select rank"),
    "threshold": _full(f"{_PT} --select threshold --min-score {{cut}}"),
    "diversity": _full(f"{_PT} --select threshold-diversity --min-score {{cut}}"),
    "with-1": Captions(alt=True, synthetic=1),
    "with-5": Captions(alt=True, synthetic=5),
    "native": Captions(human=True, native=True, translated=False),
    "aligned": Captions(human=True, native=True, back=True),
    "human": Captions(human=True),
    "direct": Captions(source="direct", synthetic=4, translated=False, direct=True),
    "eda": Captions(source="rewritten", human=True, rewrites=("rewrite:eda", 4)),
    "back-translation": Captions(source="rewritten", human=True, rewrites=("rewrite:toy:en-pt-en", 1)),
    **{
        f"rewrites-{count}": Captions(source="rewritten", human=True, rewrites=("rewrite:toy", count))
        for count in REWRITES
    },
    "many": Captions(source="many", human=True, native=True, translated=False),
}


def kept_name(lang: str, by: str, count: int) -> str:
    """The choice of the ``count`` best captions in ``lang``, judged by their "text" or the "original"."""
    return f"best-{count}-{lang}-by-{by}"


DATA |= {
    kept_name(lang, by, count): _full(f"filter --no-score --score-by {by} --lang {lang} --top-k {count}")
    for lang in KEPT_IN
    for by, count in KEPT
}


@dataclass(frozen=True)
class Cell:
    """One model to be scored in English, its language and ``also``; ``data`` "" is the model as it is.

    ``train``: options of ``capivara train`` that differ from ``DEFAULTS``.
    """

    name: str
    data: str = ""
    lang: str = "pt"
    train: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    model: str = "toy"

    @property
    def scored(self) -> tuple[str, ...]:
        """Keys of the test's texts."""
        return tuple(dict.fromkeys(("en", self.lang, *self.also)))


DEFAULTS: dict[str, Any] = {"steps": 60, "batch_size": 96, "lr": 3e-2, "warmup": 10, "checkpoint_every": 0}
EVERYWHERE = ("en", *LANGUAGES)
PORTUGUESE = ("pt-mt",)
SMALL = "small"


def _main() -> Iterator[Cell]:
    """Figure 1 and Tables 1, 4 and 5 of CAPIVARA."""
    yield Cell("base", also=(*EVERYWHERE, "pt-mt", "pt-to-en"))
    yield Cell("capivara", "capivara", train={**LIT, **LONG}, also=(*EVERYWHERE, "pt-mt"))
    yield Cell("capivara-lora", "capivara", train=LONG, also=(*EVERYWHERE, "pt-mt"))
    for lang in LANGUAGES:
        yield Cell(f"opt-{lang}", "capivara", lang, also=(*EVERYWHERE, "pt-mt"))


def _ablations() -> Iterator[Cell]:
    """Tables 2, A5, A6 and A7 of CAPIVARA."""
    yield Cell("english-alt", "alt", "en", also=("pt", "pt-mt"))
    yield Cell("english-capivara", "capivara", "en", also=("pt", "pt-mt"))
    names = (
        "alt",
        "alt-filtered",
        "synthetic",
        "capivara-filtered",
        "rank",
        "threshold",
        "diversity",
        "with-1",
        "with-5",
    )
    for name in names:
        yield Cell(name, name, also=PORTUGUESE)
    yield Cell("lit", "capivara", train=LIT, also=PORTUGUESE)
    yield Cell("no-projection", "capivara", train={"projection": False}, also=PORTUGUESE)
    yield Cell("nothing-kept", "capivara", train={"keep_share": 0.0}, also=EVERYWHERE)
    for size in (32, 192):
        yield Cell(f"lora-batch-{size}", "capivara", train={"batch_size": size})
        yield Cell(f"lit-batch-{size}", "capivara", train={**LIT, "batch_size": size})


def aligned_name(routine: str, method: str, lang: str, shots: int) -> str:
    return f"{routine}-{method}-{lang}" + (f"-{shots}" if shots else "")


def methods_on(shots: int) -> list[str]:
    """The methods that are tuned on so many images; 0: all."""
    return [method for method in METHODS if shots or method != "lora-0.01"]


def routines_of(method: str, shots: int) -> list[str]:
    """Every routine on a few images and with LoRA; other methods are tuned on all images without alignment."""
    return list(ROUTINES) if shots or method == "lora" else ["none"]


def _routines() -> Iterator[Cell]:
    """PECTVLM: routines, methods, languages, few shots and all images. The toy world translates from Portuguese only,
    so the third routine is there for Portuguese only."""
    for shots in (0, SHOTS):
        for method in methods_on(shots):
            for routine in routines_of(method, shots):
                for lang in LANGUAGES if routine != "mt-pivot" else ("pt",):
                    train = {**METHODS[method], "align": routine, **({"shots": shots} if shots else {})}
                    also = EVERYWHERE if routine == "none" and lang == "pt" and not shots else ()
                    yield Cell(aligned_name(routine, method, lang, shots), ROUTINES[routine], lang, train, also)


def _rewrites() -> Iterator[Cell]:
    """LaCLIP."""
    for name in ("human", "eda", "back-translation", *(f"rewrites-{count}" for count in REWRITES)):
        yield Cell(name, name)
    yield Cell("multi-text", "rewrites-4", train={"text_sampling": "all"})


def _questions() -> Iterator[Cell]:
    """What the papers leave open."""
    yield Cell("synthetic-1", "synthetic-1")
    yield Cell("synthetic-4", "synthetic-4")
    yield Cell("direct", "direct")
    yield Cell("small-base", also=EVERYWHERE, model=SMALL)
    for lang in LANGUAGES:
        yield Cell(f"small-opt-{lang}", "capivara", lang, model=SMALL)
    for count in COUNTS:
        few = {"shots": count, "steps": 100}
        for lang in COUNTED:
            yield Cell(f"count-lit-{lang}-{count}", "many", lang, {**LIT, **few})


def cells() -> dict[str, Cell]:
    """All of the reproduction, by name."""
    parts = (_main(), _ablations(), _rewrites(), _routines(), _questions())
    return {cell.name: cell for part in parts for cell in part}


def kept_cells() -> dict[str, Cell]:
    """The study of what captions are judged by and how many are kept, with all captions beside it, by name."""
    found = [Cell(f"opt-{lang}", "capivara", lang) for lang in KEPT_IN]
    names = [(kept_name(lang, by, count), lang) for lang in KEPT_IN for by, count in KEPT]
    return {cell.name: cell for cell in (*found, *(Cell(name, name, lang) for name, lang in names))}


REDUCED = ("base", "english-capivara", "opt-pt")
"""The cells that show the main directions."""
