"""Translating captions: ours beside argostranslate's API, text by text, and beside a bare CTranslate2.

The captions are sentences about toy scenes as the captioner writes them, so they repeat as often as synthetic captions
do. Ratios are also given over the distinct ones alone. argostranslate's sentence splitter is left out: it would be
downloaded, and a caption is one sentence.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.apart import apart
from benchmarks.peers.argos_package import large_package
from benchmarks.peers.results import Found, Setup

TITLE = "Translating"
PACKAGES = ("argostranslate", "ctranslate2")
_COLUMNS = {"way": ("", ""), "seconds": ("seconds", ",.1f"), "rate": ("captions/s", ",.0f")}
COLUMNS = {"large": _COLUMNS, "toy": _COLUMNS}
TEXT = """
{captions:,} captions of toy scenes, {words:.0f} words each, {distinct:,} of them distinct, English to Portuguese,
beam {beam}. argostranslate runs without its sentence splitter, which would need a download. It runs with its
defaults, and with one thread (`ARGOS_INTRA_THREADS=1`), because several threads can be slower on a short caption. Its
seconds are extrapolated from the texts it did within {api_seconds:.0f} s.

A package of real size (6 + 6 layers, width 480, inner width 2,048, int8), made so that it translates exactly as the
toy package does ({equal:,} of {captions:,}):

{large}

The toy package:

{toy}

{ratios}

{same_large} of {done_large} translations equal the API's with the large package, {same_toy} of {done_toy} with the
toy one.
"""
BEAM = 4


def captions(count: int) -> list[str]:
    """Sentences, half of them with the paper's prefixes, drawn with replacement: a third comes again."""
    from tools.build_toy.translators import parallel_rows

    texts = [row["en"] for row in parallel_rows("train", count, 1, {"sentence": 1, "prefixed": 1})]
    return [texts[place] for place in np.random.default_rng(0).integers(len(texts), size=count)]


def with_api(package: str, texts: Sequence[str], seconds_at_most: float, threads: int) -> tuple[float, list[str]]:
    """``argostranslate.translate.translate`` on each text; returns seconds per text and what it did in its time.

    In a process whose folders it has to itself. ``threads``: what it is told to use; 0 is its default.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "ARGOS_PACKAGES_DIR"):
            os.environ[name] = str(Path(folder) / name)
        os.environ["ARGOS_INTRA_THREADS"] = str(threads)
        from argostranslate import package as packages
        from argostranslate import sbd, translate

        sbd.MiniSBDSentencizer.split_sentences = lambda self, text: [text]
        packages.install_from_path(Path(package))
        translate.translate(texts[0], "en", "pt")
        done: list[str] = []
        start = time.perf_counter()
        while len(done) < len(texts) and time.perf_counter() - start < seconds_at_most:
            done.append(translate.translate(texts[len(done)], "en", "pt"))
        return (time.perf_counter() - start) / len(done), done


def with_ctranslate2(chain: Any, texts: Sequence[str]) -> float:
    """Seconds of nothing but ``translate_batch`` over tokens that are there, in its best batches."""
    tokenizer, model = chain.packages[0].tokenizer, chain.packages[0].model
    tokens = [tokenizer.encode(text) for text in texts]
    start = time.perf_counter()
    model.translate_batch(
        tokens, replace_unknowns=True, max_batch_size=256, batch_type="tokens", beam_size=BEAM, length_penalty=0.2
    )
    return time.perf_counter() - start


def timed(work: Callable[..., Any], *given: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work(*given)
    return time.perf_counter() - start, result


def with_us(package: str, texts: Sequence[str]) -> dict[str, Any]:
    """Seconds of all captions, of the distinct ones, and of a bare CTranslate2; and the translations."""
    from capivara_cli.languages.translation_memory import CachedTranslator
    from capivara_cli.models.generation import Decoding, Setup
    from capivara_cli.stages.translators import argos

    with tempfile.TemporaryDirectory() as folder:
        os.environ["CAPIVARA_CACHE"] = folder
        distinct = list(dict.fromkeys(texts))
        chain = argos.load(package, source="en", target="pt", setup=Setup("cpu", Decoding(beams=0)))
        chain(distinct[:200])
        bare = ours = whole = float("inf")
        results: list[str] = []
        for _ in range(2):
            bare = min(bare, with_ctranslate2(chain, distinct))
            ours = min(ours, timed(chain, distinct)[0])
            seconds, results = timed(CachedTranslator(chain, None, "pt"), texts)
            whole = min(whole, seconds)
        return {"bare": bare, "ours": ours, "whole": whole, "results": results}


def compared(package: str, texts: list[str], api_seconds: float) -> dict[str, Any]:
    """The rows of one package, how many translations equal the API's, and the translations."""
    distinct = len(set(texts))
    found = apart(with_us, package, texts)
    rows = []
    same = done = 0
    for threads, says in ((0, "its defaults"), (1, "one thread")):
        per_text, theirs = apart(with_api, package, texts, api_seconds, threads)
        way = f"argostranslate's API, {says} ({len(theirs)} texts)"
        rows.append({"way": way, "seconds": per_text * len(texts), "rate": 1 / per_text})
        same += sum(a == b for a, b in zip(theirs, found["results"], strict=False))
        done += len(theirs)
    for key, way, count in (
        ("whole", "capivara, all captions", len(texts)),
        ("ours", "capivara, distinct ones alone", distinct),
        ("bare", "bare `translate_batch`, distinct ones", distinct),
    ):
        rows.append({"way": way, "seconds": found[key], "rate": count / found[key]})
    return {"rows": rows, "same": same, "done": done, "results": found["results"]}


def measure(setup: Setup) -> Found:
    from capivara_cli.stages.translators.toy import MODELS

    count, api_seconds = (200, 1.0) if setup.small else (3_000, 15.0)
    texts = captions(count)
    small = str(MODELS / "translate-en_pt.argosmodel")
    with tempfile.TemporaryDirectory() as folder:
        large = compared(str(large_package(Path(small), Path(folder) / "large")), texts, api_seconds)
    toy = compared(small, texts, api_seconds)
    ratios = {}
    for package, each in (("package of real size", large), ("toy package", toy)):
        api, one, whole, ours, bare = (row["rate"] for row in each["rows"])
        ratios |= {
            f"argostranslate's API, defaults / capivara, all captions, {package}": whole / api,
            f"argostranslate's API, one thread / capivara, all captions, {package}": whole / one,
            f"argostranslate's API, one thread / capivara, distinct ones, {package}": ours / one,
            f"capivara / bare `translate_batch`, distinct ones, {package}": bare / ours,
        }
    facts = {
        "captions": count, "distinct": len(set(texts)), "words": sum(len(text.split()) for text in texts) / count,
        "beam": BEAM, "api_seconds": api_seconds,
        "equal": sum(a == b for a, b in zip(large["results"], toy["results"], strict=True)),
        "same_large": large["same"], "done_large": large["done"], "same_toy": toy["same"], "done_toy": toy["done"],
    }  # fmt: skip
    return Found({"large": large["rows"], "toy": toy["rows"]}, ratios, facts)
