"""Command lines that commands run: shared settings come from the whole command unless the line sets them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import typer

from capivara_cli import __version__
from capivara_cli.cli.parameters import parse_command, parse_plan, typer_function, with_version
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.options import Settings, opt, option_fields

OTHERS: dict[str, Any] = {
    "out": "here", "device": "cpu", "seed": 7, "rejects": "no", "workers": 3, "share": "1/2", "engine": "ray",
    "address": "a:1", "gpus_per_worker": 0.5, "max_failures": 4, "energy": False, "country": "BRA", "region": "r",
    "intensity": "9", "ledger": "l.jsonl", "quiet": True, "verbose": True, "dry_run": True, "overwrite": True,
    "summary": "s.json",
}  # fmt: skip
GIVEN = Settings(**OTHERS)


def test_no_setting_is_forgotten_here() -> None:
    assert OTHERS.keys() == {each.name for each in option_fields(Settings)}
    assert all(getattr(Settings(), name) != value for name, value in OTHERS.items())


def test_a_line_without_shared_flags_has_all_settings_as_given() -> None:
    parsed = parse_command(["train", "shards", "--lang", "hi", "--steps", "3"], GIVEN)
    assert parsed.settings == GIVEN
    assert (parsed.inputs, parsed.options.lang, parsed.options.schedule.steps) == (["shards"], "hi", 3)
    assert parsed.command.name == "train"


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--seed", "5"], {"seed": 5}),
        (["--out", "there", "--device", "meta"], {"out": "there", "device": "meta"}),
        (["--workers=2", "--max-failures=0"], {"workers": 2, "max_failures": 0}),
    ],
)
def test_a_flag_of_the_line_changes_that_setting_alone(flags: list[str], changes: dict[str, Any]) -> None:
    assert parse_command(["caption", "shards", *flags], GIVEN).settings == replace(GIVEN, **changes)
    assert parse_command(["caption", "shards", *flags], Settings()).settings == replace(Settings(), **changes)
    assert Settings() == Settings(**{each.name: each.default for each in option_fields(Settings)})


def test_the_settings_of_one_line_are_not_those_of_the_next() -> None:
    settings = Settings(seed=3)
    assert [parse_command(["caption", *words], settings).settings.seed for words in (["--seed", "9"], [])] == [9, 3]


def test_the_words_of_a_plan_are_those_of_a_shell() -> None:
    first, second = parse_plan("capivara caption --n 2 | filter --rules 'junk,length' --min-score 0.5")
    assert (first.stage.name, second.stage.name) == ("caption", "filter")
    assert (first.options.n, second.options.rules, second.options.min_score) == (2, "junk,length", 0.5)
    for plan, says in (
        ("caption |", "an empty step"),
        ("| caption", "an empty step"),
        ("capivara", "an empty step"),
        ("train", "train is no stage"),
        ("caption --n '2", "No closing quotation"),
        ("caption --n 0", "--n 0: must be at least 1"),
    ):
        with pytest.raises(UsageError, match=says):
            parse_plan(plan)


def test_the_ledger_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPIVARA_LEDGER", "costs.jsonl")
    assert parse_command(["filter", "shards"], Settings()).settings.ledger == "costs.jsonl"
    assert parse_command(["filter", "shards", "--ledger", "mine"], Settings()).settings.ledger == "mine"


def test_what_follows_two_dashes_is_no_option() -> None:
    parsed = parse_command(["caption", "--seed", "2", "--", "--seed", "3"], Settings())
    assert (parsed.inputs, parsed.settings.seed) == (["--seed", "3"], 2)
    with pytest.raises(UsageError, match="caption: No such option: --sead"):
        parse_command(["caption", "shards", "--sead", "2"], Settings())


@dataclass(frozen=True)
class Options:
    n: int = opt(3, "number", min=1)
    on: bool = opt(True, "switch")
    maybe: bool | None = opt(None, "switch [default: by the model]")
    place: str = opt("", "place", metavar="PLACE")
    part: str = opt("", "own part")


def test_parameters_are_those_of_the_options_and_the_shared_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """The second name of --share belongs to --part of the command."""
    called: list[Any] = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(with_version(typer_function(Options, lambda *given: called.append(given), (Settings,))))

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            app(list(words))
        return int(ended.value.code or 0)

    assert run("a", "b", "--n", "4", "--no-on", "--maybe", "--part", "x", "--share", "1/2") == 0
    assert called == [(["a", "b"], Options(4, False, True, "", "x"), Settings(share="1/2"))]
    assert run("-o", "there", "-q") == 0 and called[1] == ([], Options(), Settings(out="there", quiet=True))
    capsys.readouterr()
    for flag in ("--version", "-V"):
        assert run(flag) == 0
        assert capsys.readouterr().out == f"capivara {__version__}\n" and len(called) == 2
