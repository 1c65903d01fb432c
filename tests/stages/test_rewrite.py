"""rewrite: the prompt, one seed per rewrite, and what is not let through."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from made import a_sample

from capivara_cli.errors import CapivaraError
from capivara_cli.rewriters import llm
from capivara_cli.rewriters._incontext import SeededSampling, parse, prompt, read_pairs
from capivara_cli.sample import Caption, Sample
from capivara_cli.stage import Env, Settings
from capivara_cli.stages.rewrite import Options, rewrite

from tiny_models import tiny_gpt2  # isort: skip


def test_the_prompt_is_laclips() -> None:
    assert prompt([("a cat", "one cat"), ("b", "c")], "a dog") == (
        "write image captions differently,\n\na cat => one cat\n\nb => c\n\na dog =>"
    )
    assert parse(" one dog \n\na => b") == "one dog"
    assert parse(" one dog => two dogs\n") == ""
    assert parse("\nlate") == ""


def test_the_exemplars() -> None:
    pairs = read_pairs(llm.EXEMPLARS)
    assert len(pairs) == 16
    assert len({text for pair in pairs for text in pair}) == 32


@pytest.mark.parametrize("text", ["{}", '[["a"]]', '[["a", 3]]', '[["a => b", "c"]]', "[]", "no json"])
def test_exemplars_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_text(text)
    with pytest.raises(CapivaraError, match="pairs"):
        read_pairs(tmp_path / "pairs.json")


def test_seeded_sampling_is_sampling() -> None:
    """Frequencies of 4,000 seeds against temperature 0.9 and nucleus 0.95."""
    logits = torch.tensor([2.0, 1.0, 0.5, -4.0])
    count = 4000
    chosen = SeededSampling(range(count))(torch.zeros(count, 1), logits.repeat(count, 1)).argmax(-1)
    expected = (logits[:3] / 0.9).softmax(-1)  # the last is outside the nucleus
    shares = torch.bincount(chosen, minlength=4) / count
    assert shares[3] == 0
    assert torch.allclose(shares[:3], expected, atol=0.03)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tiny_gpt2(tmp_path_factory.mktemp("models") / "tiny-lm")


def test_a_seed_gives_one_answer_in_any_company(folder: Path) -> None:
    rewriter = llm.load(str(folder), device="cpu")
    texts, seeds = ["a cat", "a red dog on a sofa", "a cat", "two men"], [1, 2, 3, 4]
    together = rewriter(texts, seeds)
    assert together == [rewriter([text], [seed])[0] for text, seed in zip(texts, seeds, strict=True)]
    assert together[0] != together[2]
    assert rewriter.by == "rewrite:tiny-lm"
    assert all("\n" not in text for text in together)
    assert len(rewriter(["word " * 4000], [5])) == 1


class Answers:
    """Answers from a list, over and over, and remembers the seeds."""

    by = "rewrite:x"

    def __init__(self, *answers: str) -> None:
        self.answers = itertools.cycle(answers)
        self.seeds: list[int] = []

    def __call__(self, texts: list[str], seeds: list[int]) -> list[str]:
        self.seeds += seeds
        return [next(self.answers) for _ in texts]


def run(samples: list[Sample], rewriter: Any, seed: int = 0, **options: Any) -> tuple[list[Sample], Env]:
    env = Env(Settings(device="cpu", seed=seed), "rewrite", {("rewriter", "toy", "cpu"): rewriter})
    return list(rewrite.run(iter(samples), Options(rewriter="toy", **options), env)), env


def test_rewrites_are_appended_with_their_source() -> None:
    cat, gato = Caption("a cat sits", "en", "alt"), Caption("um gato", "pt", "alt")
    (out,), _ = run([a_sample("k", cat, gato)], Answers("one cat is sitting", "there sits a cat"), n=2)
    assert out.captions == [
        cat,
        gato,
        Caption("one cat is sitting", "en", "rewrite:x", of="a cat sits"),
        Caption("there sits a cat", "en", "rewrite:x", of="a cat sits"),
    ]
    again, _ = run([out], Answers("never asked"), n=2)
    assert again[0] is out


def test_seeds_depend_on_the_caption_not_on_the_company() -> None:
    samples = [a_sample(key, Caption("a cat", "en", "alt"), Caption("a dog", "en", "alt")) for key in ("a", "b")]
    together, alone, other = Answers("x y"), Answers("x y"), Answers("x y")
    run(samples, together, n=2)
    run(samples[1:], alone, n=2)
    run(samples, other, n=2, seed=1)
    assert together.seeds[4:] == alone.seeds
    assert len(set(together.seeds)) == 8
    assert not set(together.seeds) & set(other.seeds)


def test_what_is_no_rewrite_is_noted() -> None:
    bad = ["", "A CAT SITS here.", "cat => dog, and so on", "x" * 99, "cat", "a good one here"]
    (out,), env = run([a_sample("k", Caption("a cat sits here", "en", "alt"))], Answers(*bad), n=6)
    assert [each.text for each in out.captions[1:]] == ["a good one here"]
    assert env.tally.notes == Counter(
        {
            "rewrites of another length or form, left out": 3,
            "rewrites empty, left out": 1,
            "rewrites unchanged, left out": 1,
        }
    )


def test_a_real_model_twice_gives_the_same_bytes(folder: Path) -> None:
    samples = [a_sample(str(number), Caption(f"a red cat number {number}", "en", "alt")) for number in range(3)]
    once, _ = run(samples, llm.load(str(folder), device="cpu"), n=2, batch_size=2)
    twice, _ = run(samples, llm.load(str(folder), device="cpu"), n=2, batch_size=3)
    assert [each.members for each in once] == [each.members for each in twice]
    again, _ = run(once, llm.load(str(folder), device="cpu"), n=2)
    assert [each.members for each in again] == [each.members for each in once]


def test_mistakes() -> None:
    with pytest.raises(CapivaraError, match="there is no rewriter 'gpt'"):
        Options(rewriter="gpt:x").check()
    with pytest.raises(CapivaraError, match="there is no language"):
        Options(lang="anglais").check()
    assert json.loads(llm.EXEMPLARS.read_text("utf-8"))[0][0] == "a man riding a wave on a surfboard"
