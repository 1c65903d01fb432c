"""rewrite: what is asked and with which seed, asking again, what is not let through, and the books."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.made import a_sample

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.models.generation import RewriteRequest
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.options import Settings, check_options
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.rewrite import Candidate, Options, objection, rewrite, rewriter_key

CAT = Caption("a cat sits here", "en", "alt")


class Answers:
    """Answers from a list, over and over, and remembers what it was asked."""

    by = "rewrite:x"

    def __init__(self, *answers: str) -> None:
        self.answers = itertools.cycle(answers)
        self.requests: list[RewriteRequest] = []

    def __call__(self, requests: list[RewriteRequest]) -> list[str]:
        self.requests += requests
        return [next(self.answers) for _ in requests]


class Shown(Answers):
    """Was shown an exemplar, and reads at most twenty letters."""

    exemplars = ("A bird on a branch",)

    def is_too_long(self, text: str) -> bool:
        return len(text) > 20


def ready(rewriter: Any, seed: int = 0, **given: Any) -> tuple[Options, Env]:
    options = Options(rewriter="toy", **given)
    return options, Env(Settings(device="cpu", seed=seed), "rewrite", {rewriter_key(options): rewriter})


def run(samples: list[Sample], rewriter: Any, seed: int = 0, **given: Any) -> tuple[list[Sample], Env]:
    options, env = ready(rewriter, seed, **given)
    return list(rewrite.run(iter(samples), options, env)), env


def texts(sample: Sample) -> list[str]:
    return [each.text for each in sample.captions if each.of is not None]


def test_rewrites_are_appended_with_their_source() -> None:
    cat, gato = Caption("a cat sits", "en", "alt"), Caption("um gato", "pt", "alt")
    (out,), _ = run([a_sample("k", cat, gato)], Answers("one cat is sitting", "there sits a cat"), n=2)
    assert out.captions == [
        cat,
        gato,
        Caption("one cat is sitting", "en", "rewrite:x", of="a cat sits"),
        Caption("there sits a cat", "en", "rewrite:x", of="a cat sits"),
    ]
    unasked = Answers("never asked")
    again, _ = run([out], unasked, n=2)
    assert again[0] is out
    assert unasked.requests == []


def test_neither_translations_nor_rewrites_nor_other_languages_are_rewritten() -> None:
    captions = [
        CAT,
        Caption("one cat here", "en", "argos:pt-en", of="um gato"),
        Caption("a cat, sitting", "en", "rewrite:y", of=CAT.text),
        Caption("um gato", "pt", "alt"),
        Caption("  ", "en", "alt"),
        CAT,
    ]
    rewriter = Answers("another cat here")
    run([a_sample("k", *captions)], rewriter)
    assert [request.text for request in rewriter.requests] == [CAT.text]


def test_seeds_depend_on_the_caption_not_on_the_company() -> None:
    samples = [a_sample(key, Caption("a cat", "en", "alt"), Caption("a dog", "en", "alt")) for key in ("a", "b")]
    together, alone, other = (Answers(*"pqrs") for _ in range(3))
    run(samples, together, n=2)
    run(samples[1:], alone, n=2)
    run(samples, other, n=2, seed=1)
    seeds = [request.seed for request in together.requests]
    assert seeds[4:] == [request.seed for request in alone.requests]
    assert len(set(seeds)) == 8
    assert not set(seeds) & {request.seed for request in other.requests}
    assert [request.number for request in together.requests[:4]] == [0, 1, 0, 1]


def test_it_asks_again_for_what_is_no_rewrite_only() -> None:
    answers = Answers("", "a cat", "A cat sits here.", "one cat sits", "never asked")
    (out,), env = run([a_sample("k", CAT)], answers, n=2, tries=3)
    assert texts(out) == ["one cat sits", "a cat"]
    assert [request.number for request in answers.requests] == [0, 1, 1, 2]  # asked again, it is the next one
    assert len({request.seed for request in answers.requests}) == 4
    assert env.tally.notes == {"rewrites retried": 2}


def test_what_was_accepted_stays() -> None:
    """The first rewrite is asked for again and comes out as the second: it is the first that has to be another."""
    answers = Answers("", "one cat sits", "one cat sits", "a cat, sitting")
    (out,), env = run([a_sample("k", CAT)], answers, n=2, tries=3)
    assert texts(out) == ["a cat, sitting", "one cat sits"]
    assert env.tally.notes == {"rewrites retried": 2}


def test_when_no_answer_is_usable_the_caption_stays_alone() -> None:
    given = a_sample("k", CAT)
    for _ in range(2):
        (out,), env = run([given], Answers("", "a cat => b"), tries=2)
        assert out is given
        assert env.tally.notes == {"rewrites retried": 1, "rewrites dropped: continues the list of pairs": 1}


def test_a_second_run_after_too_few_gives_the_same_bytes() -> None:
    answers = ("one cat sits here", "", "one cat sits here", "", "one cat sits here", "")
    (once,), _ = run([a_sample("k", CAT)], Answers(*answers), n=3, tries=1)
    assert texts(once) == ["one cat sits here"]
    (twice,), env = run([once], Answers(*answers), n=3, tries=1)
    assert twice is once
    assert env.tally.notes == {"rewrites dropped: empty": 1, "rewrites dropped: duplicate": 1}


def test_more_are_added_up_to_n_and_none_that_another_rewriter_said() -> None:
    there = [Caption("one cat sits", "en", by, of=CAT.text) for by in ("rewrite:x",)]
    there.append(Caption("a sitting cat", "en", "rewrite:y", of=CAT.text))
    answers = Answers("p q r", "A sitting cat.", "s t u")
    (out,), env = run([a_sample("k", CAT, *there)], answers, n=3, tries=1, seed=7)
    assert texts(out) == ["one cat sits", "a sitting cat", "p q r", "s t u"]
    assert env.tally.notes == {"rewrites dropped: duplicate": 1}
    (more,), _ = run([out], Answers(*"abcd"), n=4, seed=8)
    assert texts(more)[4:] == ["a"]


def test_an_exemplar_said_again_and_a_caption_that_is_too_long() -> None:
    long = Caption("a cat sits here on the wide warm sill of a window", "en", "alt")
    rewriter = Shown("a bird on a branch.", "a sitting cat")
    (out,), env = run([a_sample("k", CAT, long)], rewriter, n=2, tries=1)
    assert texts(out) == ["a sitting cat"]
    assert {request.text for request in rewriter.requests} == {CAT.text}
    assert env.tally.notes == {
        "rewrites dropped: copy of an exemplar": 1,
        "rewrites dropped: caption too long to rewrite": 1,
    }


EN, ZH = languages.get("en"), languages.get("zh")
SILL = "a cat sits here on the wide warm sill of a window"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Candidate(CAT.text, "", EN), "empty"),
        (Candidate(CAT.text, "...", EN), "empty"),
        (Candidate(CAT.text, " A cat  sits here. ", EN), "unchanged"),
        (Candidate("一只猫坐着。", "一只猫坐着", ZH), "unchanged"),
        (Candidate(CAT.text, "a dog => a cat", EN), "continues the list of pairs"),
        (Candidate(CAT.text, "word " * 13, EN), "far longer or shorter"),
        (Candidate(CAT.text, "word " * 12, EN), ""),
        (Candidate(SILL, "a cat", EN), "far longer or shorter"),
        (Candidate(SILL, "a cat in a window", EN), ""),
        (Candidate("cat", "a cat", EN), ""),
        (Candidate("一只猫坐在窗台上", "窗台上坐着一只猫", ZH), ""),
        (Candidate("一只猫坐在窗台上看着外面的街道", "一只猫", ZH), "far longer or shorter"),
        (Candidate("一只猫坐在窗台上", "猫坐在窗台上 " * 5, ZH), "far longer or shorter"),
        (Candidate("เด็กกำลังเล่น", "มีเด็กเล่นอยู่", languages.get("th")), ""),
        (Candidate(CAT.text, "एक बिल्ली यहाँ है", EN), "in another script"),
        (Candidate("एक बिल्ली यहाँ है", "बिल्ली is sitting on the sill", languages.get("hi")), "in another script"),
        (Candidate(CAT.text, "One cat sits.", EN, exemplars={"one cat sits"}), "copy of an exemplar"),
        (Candidate(CAT.text, "One cat sits.", EN, others={"one cat sits"}), "duplicate"),
        (Candidate(CAT.text, "One cat sits.", EN, {"a dog"}, {"two cats"}), ""),
    ],
)
def test_objections(answer: Candidate, expected: str) -> None:
    assert objection(answer) == expected


def test_a_killed_run_counts_the_same_and_asks_for_the_rest_only(tmp_path: Path) -> None:
    samples = [a_sample(f"{number}", Caption(f"a cat number {number}", "en", "alt")) for number in range(4)]
    answers = ("", "a cat number 0", "one cat", "", "a cat => b", "two cats", "")
    clean, books = run(samples, Answers(*answers), batch_size=2, tries=2)

    def journalled(rewriter: Any, take: int) -> tuple[list[Sample], Counter[str]]:
        options, env = ready(rewriter, batch_size=2, tries=2)
        env.journal = Journal(tmp_path / "00000.tar", {"plan": "x"})
        made = list(itertools.islice(rewrite.run(iter(samples), options, env), take))
        env.journal.close()
        return made, env.tally.notes

    first = Answers(*answers)
    journalled(first, take=1)  # killed after a batch
    rest = Answers(*answers[len(first.requests) :])
    made, notes = journalled(rest, take=4)
    assert [each.members for each in made] == [each.members for each in clean]
    assert notes == books.tally.notes
    assert notes == {"rewrites retried": 3, "rewrites dropped: empty": 1}
    assert [request.text[-1] for request in first.requests + rest.requests] == list("0102323")
    nothing = Answers("never asked")
    made, notes = journalled(nothing, take=4)
    assert ([each.members for each in made], notes, nothing.requests) == (
        [each.members for each in clean],
        books.tally.notes,
        [],
    )


def test_steps_that_differ_in_how_often_they_ask_share_a_rewriter() -> None:
    assert rewriter_key(Options(n=2, tries=5)) == rewriter_key(Options(batch_size=3))
    assert rewriter_key(Options(shots=2)) != rewriter_key(Options())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rewriter": "gpt:x"}, "there is no rewriter 'gpt'"),
        ({"lang": "anglais"}, "there is no language"),
        ({"bits": 5}, "--bits 5"),
        ({"lang": "xh"}, r"no exemplars in Xhosa \(xh\), only in en, pt, es, hi"),
        ({"rewriter": "openai:x", "lang": "xh"}, "no exemplars in Xhosa"),
        ({"exemplars": "/nowhere.tsv"}, "--exemplars /nowhere.tsv: cannot be read"),
        ({"exemplars": "plane"}, "there is no file or English set of exemplars 'plane'; there are alt, plain, short"),
        ({"rewriter": "eda", "synonyms": "/nowhere.tsv"}, "--synonyms /nowhere.tsv: cannot be read"),
        ({"rewriter": "back-translation", "via": "klingon"}, "there is no language 'klingon'"),
        ({"rewriter": "back-translation", "via": ", "}, "--via: a language is empty"),
        ({"rewriter": "back-translation", "via": "de,eng"}, "--via de,eng: the captions are in English already"),
        ({"rewriter": "back-translation", "translator": "argus"}, "there is no translator 'argus'"),
        ({"rewriter": "back-translation:argus"}, "there is no translator 'argus'"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CapivaraError, match=message):
        check_options(Options(**options))
        Options(**options).check()


def test_what_needs_no_exemplars_works_in_any_language(tmp_path: Path) -> None:
    Options(rewriter="eda", lang="xh").check()
    (tmp_path / "xh.json").write_text(json.dumps([["inja", "inja enye"]]))
    Options(lang="xh", exemplars=str(tmp_path / "xh.json")).check()
