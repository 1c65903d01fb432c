"""caption and rewrite with seeds: which draws have one, that each has its own, and that the run's seed counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from capivara_cli import languages
from capivara_cli.languages.caption_cleaning import Cleaner
from capivara_cli.models.generation import Draw, RewriteRequest, seed_of
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.stages import caption, rewrite
from capivara_cli.stages.rewrite import Candidate, objection

ENGLISH = languages.get("en")
PROMPTS = ("a photo of", "a picture of")


class Captioner:
    """Remembers its draws; writes the same text for the first draws of an image, then others."""

    by, batch_size = "mine", 4

    def __init__(self) -> None:
        self.rounds: list[list[list[Draw]]] = []

    def __call__(self, prepared: Sequence[Any]) -> Callable[[Sequence[Sequence[Draw]]], list[list[str]]]:
        def texts_of(draws: Sequence[Sequence[Draw]]) -> list[list[str]]:
            self.rounds.append([list(each) for each in draws])
            number = len(self.rounds)
            return [[f"{each.prompt} a dog {number if number > 1 else ''}" for each in image] for image in draws]

        return texts_of


def draws(seed: int, **options: Any) -> list[list[list[Draw]]]:
    """The draws of each round for two images."""
    captioner: Any = Captioner()
    given = caption.Options(captioner="toy", **options)
    batch = caption._BatchCaptioner(given, seed, captioner, PROMPTS, Cleaner(ENGLISH))
    batch([("k", None), ("other", None)])
    return captioner.rounds


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_first_caption_of_each_prompt_has_no_seed_and_all_others_have(seed: int) -> None:
    ((first, other),) = draws(seed, n=5)
    assert [each.prompt for each in first] == [PROMPTS[number % 2] for number in range(5)]
    expected = [None, None, *(seed_of(seed, "k", PROMPTS[number % 2], number) for number in (2, 3, 4))]
    assert [each.seed for each in first] == expected
    assert len({each.seed for each in first + other}) == 7


def test_with_a_temperature_all_captions_have_a_seed() -> None:
    found = {seed: draws(seed, n=3, temperature=0.7)[0][0] for seed in (0, 3)}
    for seed, image in found.items():
        assert [each.seed for each in image] == [seed_of(seed, "k", PROMPTS[number % 2], number) for number in range(3)]
    assert {each.seed for each in found[0]}.isdisjoint(each.seed for each in found[3])


def test_later_rounds_go_on_where_the_first_ended() -> None:
    first, second, *_ = draws(2, n=4, distinct=True)
    assert len(first[0]) == 4 and second[0]
    numbers = range(4, 4 + len(second[0]))
    assert [each.seed for each in second[0]] == [seed_of(2, "k", PROMPTS[number % 2], number) for number in numbers]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_each_attempt_at_a_rewrite_has_a_seed_and_a_number_of_its_own(seed: int) -> None:
    batch = rewrite._BatchRewriter(rewrite.Options(rewriter="eda"), Env(Settings(seed=seed), "rewrite"))
    pending = rewrite._PendingRewrite(0, "a dog", 2, set())
    requests = [batch._request("k", pending, attempt) for attempt in range(3)]
    assert requests == [
        RewriteRequest("a dog", seed_of(seed, "k", "a dog", 2, attempt), 2 + attempt) for attempt in range(3)
    ]
    others = {
        batch._request("other", pending, 0).seed,
        batch._request("k", rewrite._PendingRewrite(0, "a cat", 2, set()), 0).seed,
        batch._request("k", rewrite._PendingRewrite(0, "a dog", 3, set()), 0).seed,
        rewrite._BatchRewriter(rewrite.Options(rewriter="eda"), Env(Settings(seed=seed + 1), "rewrite"))
        ._request("k", pending, 0)
        .seed,
    }
    assert len(others | {each.seed for each in requests}) == 7


@pytest.mark.parametrize(
    ("before", "after", "is_far"),
    [
        ("dog", "dog in a park", False), ("dog", "dogs in a big park", True),
        ("two dogs", "two dogs in a big park", False),
        ("two dogs", "two old dogs in a big park", True), ("six old dogs in a park", "dogs running", False),
        ("seven very old dogs in a park", "dogs running", True),
    ],
)  # fmt: skip
def test_a_rewrite_is_far_longer_beyond_three_times_and_three_words(before: str, after: str, is_far: bool) -> None:
    assert (objection(Candidate(before, after, ENGLISH)) == "far longer or shorter") is is_far
