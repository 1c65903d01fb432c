"""Stages as functions: lazy, over any iterable, with options that are checked at once."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from support.made import a_sample, shard_bytes

import capivara_cli as capivara
from capivara_cli.library import commands, stages
from capivara_cli.library._options import Keywords
from capivara_cli.pipeline.options import option_fields
from capivara_cli.registry import command_names, load_command

OF_COMMANDS = [*vars(stages).values(), *vars(commands).values()]
KEYWORDS = {each.command: each for each in OF_COMMANDS if isinstance(each, Keywords)}


def test_every_stage_is_a_function() -> None:
    names = {name for name, folder in command_names().items() if folder == "stages"}
    assert names <= KEYWORDS.keys()
    assert all(inspect.isfunction(getattr(capivara, name)) for name in names)


@pytest.mark.parametrize("name", KEYWORDS)
def test_every_option_is_a_keyword_with_its_default(name: str) -> None:
    given = KEYWORDS[name]
    parameters = inspect.signature(getattr(capivara, given.function or name)).parameters
    for each in option_fields(load_command(name).options):
        if each.name not in given.left_out:
            assert parameters[each.name].default == each.default
            assert parameters[each.name].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["progress"].default is False


def test_nothing_is_computed_before_the_samples_are_asked_for() -> None:
    asked = []

    def samples() -> Any:
        for number in range(1000):
            asked.append(number)
            yield capivara.Sample(f"{number:04d}", {"json": b"{}"})

    part = iter(capivara.split(samples(), part="heldout", fraction=1))
    assert asked == []
    assert [next(part).key for _ in range(3)] == ["0000", "0001", "0002"]
    assert len(asked) < 10


def test_stages_are_composed_and_their_counts_kept(here: Path) -> None:
    shards = capivara.read("shards")
    pt = capivara.translate(capivara.split(shards, fraction=0.5), lang="pt", translator="toy")
    assert (pt.tally.read, pt.steps) == (0, [])
    found = list(pt)
    assert [name for name, _ in pt.steps] == ["split", "translate"]
    assert pt.tally.read == 6
    assert pt.tally.written == len(found) == 6 - pt.tally.dropped["in the heldout part"]
    assert 0 < len(found) < 6
    assert [step["step"] for step in found[0].history] == ["split", "translate"]
    assert "split | translate" in repr(pt)


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "an unknown option": ("translate", {"langs": "pt"}, "translate: there is no option 'langs' — did you mean lang?"),
    "a wrong language": ("translate", {"lang": "xx"}, "lang: there is no language 'xx'"),
    "a wrong language in a list": ("translate", {"lang": ["pt", "xx"]}, "lang: there is no language 'xx'"),
    "a bound": ("caption", {"n": 0}, "n 0: must be at least 1"),
    "a bound, two words": ("caption", {"batch_size": -1}, "batch_size -1: must be at least 0"),
    "a bound of a shared option": ("split", {"seed": -1}, "seed -1: must be at least 0"),
    "a word": ("filter", {"select": "best"}, "select 'best': is not one of none, rank"),
    "a number": ("filter", {"min_score": "high"}, "min_score 'high': is not a number"),
    "a whole number": ("filter", {"top_k": 1.5}, "top_k 1.5: is not a whole number"),
    "a switch": ("filter", {"score": 1}, "score 1: is not True or False"),
    "a list for one": ("caption", {"lang": ["pt", "hi"]}, "lang ['pt', 'hi']: is not a text"),
    "a comma in a list": ("dedupe", {"against": ["a,b"]}, "against 'a,b': has a ','"),
    "options together": ("caption", {"captioner": "toy", "beams": 2, "temperature": 1}, "beams and temperature: "),
    "two options": ("translate", {"lang": "en"}, "lang en: this is the source language; see from_"),
    "a plugin": ("translate", {"translator": "toi"}, "there is no translator 'toi'"),
    "a model": ("filter", {"model": "local-dir:nowhere"}, "nowhere"),
    "an option of a command": (
        "evaluate",
        {"langs": "pt"},
        "evaluate: there is no option 'langs' — did you mean lang?",
    ),
    "a missing option": ("train", {}, "train: which language?"),
}


@pytest.mark.parametrize(("name", "options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_an_error_at_the_call_in_the_words_of_python(
    name: str, options: dict[str, Any], message: str, here: Path
) -> None:
    with pytest.raises(capivara.CapivaraError) as caught:
        getattr(capivara, name)("shards", **options)
    assert message in caught.value.message
    assert str(caught.value) == caught.value.message
    assert "--" not in caught.value.message


def test_what_yields_no_samples_is_refused_at_the_call(here: Path) -> None:
    wrong: Any = 3
    with pytest.raises(capivara.UsageError, match="yields no samples"):
        capivara.split(wrong)
    with pytest.raises(capivara.CapivaraError, match="nowhere: no such file or folder"):
        capivara.split("nowhere")
    with pytest.raises(capivara.CapivaraError, match="nowhere"):
        capivara.pack("nowhere")
    wrong = capivara.split("shards")
    with pytest.raises(capivara.UsageError, match="its samples are not stored") as caught:
        capivara.train(wrong, lang="pt")
    assert "capivara.write" in caught.value.hint


def test_numbers_are_recorded_as_on_the_command_line(here: Path) -> None:
    """1 is 1.0 where the option is a number: otherwise the same plan would have two histories."""
    import numpy as np

    (one,) = [step["options"] for step in next(iter(capivara.split("shards", part="heldout", fraction=1))).history]
    assert repr(one["fraction"]) == "1.0"
    whole: Any = np.int64(1)
    (two,) = [step["options"] for step in next(iter(capivara.dedupe("shards", k_min=whole))).history]
    assert repr(two["k_min"]) == "1"


def test_shards_of_other_programs_are_refused_by_stages_that_read_captions(here: Path) -> None:
    sample = a_sample("a")
    raw = type(sample)("a", {"jpg": sample.members["jpg"], "txt": b"a dog on the beach"})
    Path("raw").mkdir()
    Path("raw/00000.tar").write_bytes(shard_bytes([raw]))
    with pytest.raises(capivara.CapivaraError, match="only pack reads them"):
        list(capivara.dedupe("raw"))
    assert [each.captions[0].text for each in capivara.pack("raw", lang="en")] == ["a dog on the beach"]


def test_an_error_of_a_stage_ends_the_iteration(here: Path) -> None:
    samples = [capivara.Sample("a", {"jpg": b"none", "json": b"{}"})]
    with pytest.raises(capivara.CapivaraError, match="filter: more than 0 samples cannot be used") as caught:
        list(capivara.filter([*samples, *capivara.read("shards")], model="toy", max_failures=0))
    assert "raise max_failures" in caught.value.hint
    with pytest.raises(capivara.CapivaraError, match="none of the 1 samples can be used"):
        list(capivara.filter(samples, model="toy"))
    with pytest.raises(capivara.CapivaraError, match="no caption"):
        list(capivara.translate("shards", lang="pt", from_="hi", translator="toy"))


def test_the_program_may_stop_early(here: Path) -> None:
    for sample in capivara.filter("shards", model="toy", quantile=0.5):
        assert sample.captions
        break
