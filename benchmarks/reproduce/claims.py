"""What the papers claim, each as a comparison of two cells, and the questions they leave open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.reproduce import papers
from benchmarks.reproduce.plan import LANGUAGES, SHOTS, aligned_name, methods_on, routines_of
from benchmarks.reproduce.statistics import Direction, Measure, Seed
from capivara_cli.evaluation.disparity import disparity


@dataclass(frozen=True)
class Claim:
    """``second`` is higher than ``first`` ("up"), lower, or neither ("none"); "" where no paper says.

    ``paper`` is its figure, "" where we do not have it.
    """

    where: str
    text: str
    first: Measure
    second: Measure
    says: Direction
    paper: str = ""


def recall(cell: str, key: str = "pt") -> Measure:
    return lambda seed: seed.recall(cell, key)


def both(cell: str) -> Measure:
    """The paper's six columns in miniature: translated and native Portuguese."""
    return lambda seed: (seed.recall(cell, "pt") + seed.recall(cell, "pt-mt")) / 2


def accuracy(cell: str, lang: str = "pt") -> Measure:
    return lambda seed: seed.accuracy(cell, lang)


def own(routine: str, method: str, shots: int) -> dict[str, Measure]:
    """Each language by its own adapter, English by the model as it is."""
    found = {"en": recall("base", "en")}
    return found | {lang: recall(aligned_name(routine, method, lang, shots), lang) for lang in LANGUAGES}


UNTAUGHT = {lang: recall("base", lang) for lang in ("en", *LANGUAGES)}
OPT = {"en": recall("base", "en"), **{lang: recall(f"opt-{lang}", lang) for lang in LANGUAGES}}


def spread(measures: dict[str, Measure], what: str) -> Measure:
    """``mean``, ``range`` or ``std`` over languages (PECTVLM)."""
    return lambda seed: getattr(disparity({lang: each(seed) for lang, each in measures.items()}), what)


def over(cells: list[tuple[str, str]]) -> Measure:
    return lambda seed: sum(seed.recall(*each) for each in cells) / len(cells)


def _mean_gain(name: str, before: str = "baseline") -> str:
    return f"{papers.mean(papers.TABLE_1[name]) - papers.mean(papers.TABLE_1[before]):+.2f}"


def capivara() -> Iterator[Claim]:
    """arXiv 2310.13683."""
    for lang in LANGUAGES:
        text = f"adapted beats the baseline in {lang}"
        yield Claim("Figure 1", text, recall("base", lang), recall(f"opt-{lang}", lang), "up")
    yield Claim("Table 1", "CAPIVARA beats the baseline", both("base"), both("capivara"), "up", _mean_gain("CAPIVARA"))
    gain = _mean_gain("CAPIVARA + Opt")
    yield Claim("Table 1", "CAPIVARA + Opt beats the baseline", both("base"), both("opt-pt"), "up", gain)
    gain = _mean_gain("CAPIVARA + Opt", "CAPIVARA")
    yield Claim("Table 1", "CAPIVARA + Opt is as good as CAPIVARA", both("capivara"), both("opt-pt"), "none", gain)
    gain = _mean_gain("fine-tuning, translated captions")
    text = "translated captions without synthetic ones change nothing on average"
    yield Claim("Table 1", text, both("base"), both("alt"), "none", gain)
    yield from _ablations()
    yield Claim("Table 4", "CAPIVARA classifies no worse and hardly better than the baseline", accuracy("base"),
                accuracy("capivara"), "none", "+0.54 ELEVATER, +0.22 ImageNet")  # fmt: skip
    yield Claim("Table 4", "so does CAPIVARA + Opt", accuracy("base"), accuracy("opt-pt"), "none",
                "-0.07 ELEVATER, -0.19 ImageNet")  # fmt: skip


def _ablations() -> Iterator[Claim]:
    text = "translated captions beat untranslated ones"
    yield Claim("Table 2, data", text, both("english-capivara"), both("opt-pt"), "up")
    gain = _mean_gain("CAPIVARA", "fine-tuning, translated captions")
    yield Claim(
        "Table 2, data", "synthetic captions help beside the originals", both("alt"), both("opt-pt"), "up", gain
    )
    text = "leaving out the 40 % of images whose caption scores lowest"
    yield Claim("Table 2, data", f"{text}, original captions", both("alt"), both("alt-filtered"), "")
    yield Claim("Table 2, data", f"{text}, synthetic ones too", both("opt-pt"), both("capivara-filtered"), "")
    text = "LoRA with the projection is as good as the whole text tower"
    yield Claim("Table 2, methods", text, both("lit"), both("opt-pt"), "none", "Flickr30k 79.51/89.50; 79.56/89.95")
    names = {"rank": "the five best", "threshold": "those above a threshold", "diversity": "threshold and diversity"}
    for cell, text in names.items():
        yield Claim("Table A5", f"{text} instead of all captions: no difference", both("opt-pt"), both(cell), "none",
                    "within 0.5")  # fmt: skip
    gain = f"{papers.mean(papers.ONE_SYNTHETIC) - papers.mean(papers.TABLE_1['fine-tuning, translated captions']):+.2f}"
    yield Claim("Table A6", "one synthetic caption helps", both("alt"), both("with-1"), "up", gain)
    gain = f"{papers.mean(papers.TABLE_1['CAPIVARA']) - papers.mean(papers.ONE_SYNTHETIC):+.2f}"
    yield Claim("Table A6", "ten are no better than one", both("with-1"), both("opt-pt"), "none", gain)
    yield Claim("Table A6", "five are worse than one", both("with-1"), both("with-5"), "down")
    for method, small, large in (("LoRA", "lora-batch-32", "lora-batch-192"),
                                 ("whole text tower", "lit-batch-32", "lit-batch-192")):  # fmt: skip
        yield Claim("Table A7", f"larger batches help, {method}", recall(small), recall(large), "up")


def pectvlm() -> Iterator[Claim]:
    """arXiv 2305.03510."""
    for shots, regime in ((SHOTS, "few-shot"), (0, "all images")):
        plain, tuned = own("none", "lora", shots), own("native", "lora", shots)
        for what, least in (("range", "more than 5 lower"), ("std", "more than 1.5 lower")):
            text = f"{regime}: tuning with alignment lowers the {what} over languages"
            yield Claim("disparity", text, spread(UNTAUGHT, what), spread(tuned, what), "down", least)
            text = f"{regime}: {what}, against tuning without alignment"
            yield Claim("disparity", text, spread(plain, what), spread(tuned, what), "")
        for method in methods_on(shots):
            if "native" in routines_of(method, shots):
                yield from _routines(method, shots, f"{regime}, {method}")
        for method in methods_on(shots):
            if method != "lora":
                text = f"{regime}: {method} against lora"
                yield Claim("methods", text, _taught("none", "lora", shots), _taught("none", method, shots), "")


def _routines(method: str, shots: int, regime: str) -> Iterator[Claim]:
    for routine in ("native", "mt-source"):
        text = f"{regime}: routine {routine} beats tuning without alignment"
        yield Claim("routines", text, _taught("none", method, shots), _taught(routine, method, shots), "up")
    none, pivot = (recall(aligned_name(each, method, "pt", shots)) for each in ("none", "mt-pivot"))
    yield Claim("routines", f"{regime}: routine mt-pivot beats tuning without alignment (pt)", none, pivot, "up")
    text = f"{regime}: mt-pivot against the untuned model with translated queries (pt)"
    yield Claim("routines", text, recall("base", "pt-to-en"), pivot, "")


def _taught(routine: str, method: str, shots: int) -> Measure:
    """Mean over the languages, each by its own model."""
    return over([(aligned_name(routine, method, lang, shots), lang) for lang in LANGUAGES])


def laclip() -> Iterator[Claim]:
    """arXiv 2305.20088."""
    for measure, what in ((recall, "recall"), (accuracy, "accuracy")):
        gain = "+5.7 (CC3M), +8.2 (CC12M)" if measure is accuracy else ""
        yield Claim("rewrites", f"four rewrites help ({what})", measure("human"), measure("rewrites-4"), "up", gain)
        text = f"rewrites by a language model beat EDA ({what})"
        yield Claim("augmentation", text, measure("eda"), measure("rewrites-4"), "up")
        text = f"four rewrites beat one ({what})"
        yield Claim("number of rewrites", text, measure("rewrites-1"), measure("rewrites-4"), "up")
        text = f"the multi-text loss beats one text per visit ({what})"
        yield Claim("multi-text", text, measure("rewrites-4"), measure("multi-text"), "up")


def questions() -> Iterator[Claim]:
    """What the papers leave open: no direction to agree with."""
    yield Claim("human captions", "one synthetic caption, translated, against a clean one, translated",
                recall("human"), recall("synthetic-1"), "")  # fmt: skip
    yield Claim("human captions", "ten synthetic ones, translated, against a clean one, translated", recall("human"),
                recall("synthetic"), "")  # fmt: skip
    written = recall(aligned_name("none", "lora", "pt", 0))
    text = "a clean one, translated, against one written in Portuguese"
    yield Claim("human captions", text, written, recall("human"), "")
    yield Claim("direct captions", "four captions written in Portuguese against four translated ones",
                recall("synthetic-4"), recall("direct"), "")  # fmt: skip
    for lang in LANGUAGES:
        text = f"gain in {lang}: the toy's towers against half of their width and depth"
        small, whole = _gain("small-base", f"small-opt-{lang}", lang), _gain("base", f"opt-{lang}", lang)
        yield Claim("larger towers", text, small, whole, "")
    yield Claim("forgetting", "English after Portuguese is taught, English kept", recall("base", "en"),
                recall("opt-pt", "en"), "")  # fmt: skip
    yield Claim("forgetting", "English after Portuguese is taught, nothing kept, as in the paper", recall("base", "en"),
                recall("nothing-kept", "en"), "")  # fmt: skip


def _gain(before: str, after: str, lang: str) -> Measure:
    def measure(seed: Seed) -> float:
        return seed.recall(after, lang) - seed.recall(before, lang)

    return measure


PARTS = {
    "CAPIVARA (arXiv 2310.13683)": capivara,
    "PECTVLM (arXiv 2305.03510)": pectvlm,
    "LaCLIP (arXiv 2305.20088)": laclip,
    "Open questions": questions,
}
