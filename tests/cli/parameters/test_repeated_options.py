"""A repeated option: a list takes the values of all, one value is refused, for every command and also inside a plan."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from support.made import a_sample
from support.warm import CAPIVARA

from capivara_cli.cli.parameters import parse_command, parse_plan, with_lists_joined
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.options import (
    JsonOption,
    Settings,
    flag_of,
    option_fields,
    option_types,
    option_values,
    parsed,
)
from capivara_cli.registry import command_names, load_command
from capivara_cli.shards.sample import Caption


def options_of(line: str) -> Any:
    return parse_command(line.split(), Settings()).options


@pytest.mark.parametrize(
    ("line", "name", "values", "text"),
    [
        ("train x --lang pt --lang hi", "lang", ("pt", "hi"), "pt,hi"),
        ("show x --lang=Hindi --n 2 --lang pt_BR,kgp", "lang", ("hi", "pt", "kgp"), "Hindi,pt_BR,kgp"),
        ("eval x --k 1 --k 5", "k", ("1", "5"), "1,5"),
        ("dedupe x --against a --against b", "against", ("a", "b"), "a,b"),
        ("translate x --guards copy --guards junk", "guards", ("copy", "junk"), "copy,junk"),
        ("rewrite x --via de --via fr", "via", ("de", "fr"), "de,fr"),
        ("filter x --rules=junk --rules=length", "rules", ("junk", "length"), "junk,length"),
        ("adapt x --lang pt --set train.lr=1 --set eval.k=1,5", "set", ("train.lr=1", "eval.k=1,5"),
         "train.lr=1 eval.k=1,5"),
        ("train x --lang pt", "lang", ("pt",), "pt"),
    ],
)  # fmt: skip
def test_an_option_that_holds_a_list_takes_the_values_of_all(
    line: str, name: str, values: tuple[str, ...], text: str
) -> None:
    options = options_of(line)
    assert parsed(options, name) == values
    assert option_values(options)[name] == text  # as if typed with commas: what histories record


def test_every_option_of_every_command_is_joined_or_refused() -> None:
    """None is dropped: whatever Typer does with a repeated flag, it never sees one."""
    tried = 0
    for command in command_names():
        for cls in (load_command(command).options, Settings, JsonOption):
            types = option_types(cls)
            for each in option_fields(cls):
                kind, flag = types[each.name], flag_of(each.name)
                switch = kind in (bool, bool | None)
                value = [] if switch else [get_args(kind)[0] if get_origin(kind) is Literal else "1"]
                words = ["x", flag, *value, "y", flag, *value]
                separator = getattr(each.metadata.get("kind"), "separator", "")
                if separator:
                    assert with_lists_joined(words, cls) == ["x", flag, f"1{separator}1", "y"]
                else:
                    with pytest.raises(UsageError, match=f"^{flag} is given more than once, and holds one value$"):
                        with_lists_joined(words, cls)
                tried += 1
    assert tried > 500


@pytest.mark.parametrize(
    "line",
    ["caption --n 1 --n 2", "train x --lang pt --lr 1e-4 --lr=1e-5", "caption x --lang pt --lang hi",
     "run x --energy --no-energy", "split x --share 1/2 --share 2/2", "show x --seed 1 --quiet --seed 1"],
)  # fmt: skip
def test_an_option_that_holds_one_value_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match=r"^\w+: --[\w-]+ is given more than once, and holds one value$") as caught:
        options_of(line)
    assert (caught.value.exit_code, caught.value.hint) == (2, "give it once")


def test_second_names_are_the_same_option() -> None:
    with pytest.raises(UsageError, match="--part is given more than once"):
        options_of("caption x --share 1/2 --part 2/2")
    parts = options_of("split x --part train --share 1/2")  # split has an option of that name
    assert parts.part == "train"


def test_what_is_no_option_stays() -> None:
    class NoOptions(Settings):
        pass

    words = ["--seed", "--seed", "a", "--unknown", "b", "-", "--", "--seed", "1", "--seed", "2"]
    assert with_lists_joined(words, NoOptions) == words  # the first --seed has the value "--seed"
    assert with_lists_joined(["a", "--seed"], NoOptions) == ["a", "--seed"]


def test_a_plan_and_a_recipe_obey_too() -> None:
    (step,) = parse_plan("translate --lang pt --lang hi")
    assert step.options.lang == "pt,hi"
    with pytest.raises(UsageError, match="caption: --n is given more than once"):
        parse_plan("caption --n 1 --n 2 | translate")


def test_the_program_says_so(tmp_path: Path, shards: Any) -> None:
    folder = shards([a_sample("a", Caption("a dog", "en", "alt"), Caption("um cão", "pt-BR", "alt"))])
    refused = subprocess.run(
        [*CAPIVARA, "show", folder, "--n", "1", "--n", "2"], capture_output=True, text=True, check=False
    )
    message = "capivara: --n is given more than once, and holds one value\n  give it once\n"
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", message)
    shown = subprocess.run(
        [*CAPIVARA, "show", folder, "--lang", "pt", "--lang", "hi"], capture_output=True, text=True, check=True
    ).stdout
    assert "um cão" in shown
    assert "a dog" not in shown
