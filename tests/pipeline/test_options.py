"""Options in groups: nested for the code, flat for the command line and for what is recorded."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from capivara_cli.cli.parameters import parse_command
from capivara_cli.commands.train import Options as TrainOptions
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.options import (
    Settings,
    build,
    changed,
    check_options,
    group,
    opt,
    option_fields,
    option_types,
    option_values,
)


@dataclass(frozen=True)
class Rate:
    steps: int = opt(10, "steps", min=1)
    lr: float = opt(0.5, "rate")


@dataclass(frozen=True)
class Options:
    lang: str = opt("", "language")
    rate: Rate = group(Rate)
    name: str = opt("x", "name")


def test_a_group_is_seen_as_its_options_in_its_place() -> None:
    assert [each.name for each in option_fields(Options)] == ["lang", "steps", "lr", "name"]
    assert option_types(Options) == {"lang": str, "steps": int, "lr": float, "name": str}
    assert option_values(Options(rate=Rate(3))) == {"lang": "", "steps": 3, "lr": 0.5, "name": "x"}


def test_options_are_built_and_changed_by_name_whichever_group_they_are_in() -> None:
    built = build(Options, lr=0.25, name="y")
    assert built == Options(rate=Rate(10, 0.25), name="y")
    assert changed(built, steps=2, lang="pt") == Options("pt", Rate(2, 0.25), "y")
    with pytest.raises(TypeError, match="speed"):
        build(Options, speed=1)


def test_bounds_hold_inside_groups() -> None:
    with pytest.raises(UsageError, match="--steps 0: must be at least 1"):
        check_options(build(Options, steps=0))


@dataclass(frozen=True)
class Bounded:
    share: float = opt(0.5, "share", min=0, max=0.9)
    rank: int = opt(8, "rank", min=1)
    free: float = opt(0.0, "free")
    on: bool = opt(False, "on", min=1)


@pytest.mark.parametrize("given", [{"share": 0}, {"share": 0.9}, {"rank": 1}, {"free": -1e9}, {"on": False}])
def test_a_number_equal_to_its_bound_is_allowed(given: dict[str, float]) -> None:
    check_options(build(Bounded, **given))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"share": -0.001}, "--share -0.001: must be at least 0 and at most 0.9"),
        ({"share": 0.901}, "--share 0.901: must be at least 0 and at most 0.9"),
        ({"rank": 0}, "--rank 0: must be at least 1"),
        ({"share": float("nan")}, "--share nan: must be at least 0 and at most 0.9"),
        ({"free": float("nan")}, "--free nan: must be a number"),
    ],
)
def test_a_number_beyond_its_bound_is_named(given: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_options(build(Bounded, **given))
    assert raised.value.message == says


def test_least_values_of_training_are_allowed() -> None:
    least = {"steps": 1, "batch_size": 2, "lora_r": 1, "warmup": 0, "lora_dropout": 1, "ema": 1, "keep_share": 0.9,
             "seeds": 1, "val_every": 1, "shots": 0, "temperature": 1}  # fmt: skip
    check_options(build(TrainOptions, lang="pt", **least))
    for name, value in (("steps", 0), ("batch_size", 1), ("lora_r", 0), ("val_every", 0), ("keep_share", 0.91)):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {value}: must be at"):
            check_options(build(TrainOptions, lang="pt", **{name: value}))


def test_flags_of_groups_are_parsed_into_them_and_recorded_flat() -> None:
    words = ["train", "shards", "--lang", "hi", "--steps", "7", "--lora-r", "2", "--no-projection", "--val", "0.1"]
    options = parse_command(words, Settings()).options
    assert (options.schedule.steps, options.tuning.lora_r, options.tuning.projection) == (7, 2, False)
    assert options.selection.heldout == 0.1
    request = options.request
    assert (request["steps"], request["lora_r"], request["val"]) == (7, 2, "0.1")
    assert list(request)[:6] == ["lang", "model", "pretrained", "continue_from", "steps", "batch_size"]
    assert not {"schedule", "name", "memory", "seeds"} & request.keys()
    assert build(TrainOptions, **option_values(options)) == options
