"""What people type does not become lines of the Slurm script, nor further words of an #SBATCH line."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reliability.running import run
from support.made import toy_like

from capivara_cli.commands import slurm
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build, flag_of, option_fields


@pytest.fixture
def two(shards: Callable[..., Path]) -> Path:
    return shards(toy_like(2), toy_like(2, 2))


def script(words: list[str], **values: Any) -> str:
    own = {each.name for each in option_fields(slurm.Options)}
    options = build(slurm.Options, **{name: value for name, value in values.items() if name in own})
    shared = {name: value for name, value in values.items() if name not in own}
    env = Env(Settings(**{"out": "done", **shared}), "slurm")
    env.json = True
    return str(slurm.slurm.run(words, options, env)["script"])


def texts() -> Iterator[str]:
    """Every option of the command that holds a text."""
    for options in (slurm.Options, Settings):
        yield from (each.name for each in option_fields(options) if each.default == "")


@pytest.mark.parametrize("name", texts())
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x1b[2K", "\x85", "\u2028", "\u2029", "\x7f"])
def test_a_line_break_in_any_option_is_refused_and_the_option_named(name: str, end: str, two: Path) -> None:
    with pytest.raises(UsageError, match=f"slurm: {flag_of(name)} .*: has a line break or another control character"):
        script(["split", str(two)], **{name: f"a{end}#SBATCH --uid=0"})


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["split\n| dedupe", "{two}"], "the plan"),
        (["split\r#SBATCH --uid=0", "{two}"], "the plan"),
        (["split", "{two}\ntouch here"], "an input"),
        (["split", "{two}", "{two}\x00"], "an input"),
    ],
)
def test_a_line_break_in_the_plan_or_an_input_is_refused(words: list[str], what: str, two: Path) -> None:
    with pytest.raises(UsageError, match=f"slurm: {what} .*: has a line break"):
        script([word.format(two=two) for word in words])


@pytest.mark.parametrize("name", ["memory", "time", "partition", "account"])
@pytest.mark.parametrize("text", ["gpu --uid=0", "'gpu'", 'a"b', "#x", "gpu\\"])
def test_what_slurm_would_split_or_unquote_is_refused(name: str, text: str, two: Path) -> None:
    with pytest.raises(UsageError, match=f"slurm: --{name} .*: must be one word, as Slurm writes it"):
        script(["split", str(two)], **{name: text})


def test_values_of_every_other_kind_reach_the_program_as_typed(two: Path, tmp_path: Path) -> None:
    out = f"{tmp_path}/don't $(touch bad) `x` \\ \"é हिन्दी\u200d"
    text = script(["split --fraction 0.5", str(two)], out=out, time="1-12:00:00", memory="32G", account="a_b-c.d")
    (tmp_path / "capivara").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "capivara").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": "0"}
    ran = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert ran.stdout.splitlines() == ["run", "split --fraction 0.5", str(two), "--out", out, "--share", "1/1"]
    assert "#SBATCH --time=1-12:00:00\n" in text and "#SBATCH --account=a_b-c.d\n" in text
    assert not (tmp_path / "bad").exists()


def test_a_name_that_is_no_utf_8_is_written_byte_for_byte(two: Path) -> None:
    ran = run(["slurm", "split", str(two), "--out", os.fsdecode(b"d\xffne")], two.parent)
    assert ran.code == 0 and b"--out '" + b"d\xffne' --share" in ran.shown


def test_an_out_that_is_the_input_is_refused_before_it_is_queued(two: Path) -> None:
    for spelled in (str(two), f"{two}/../{two.name}"):
        with pytest.raises(CapivaraError, match="is also the input"):
            script(["split", str(two)], out=spelled)
    assert shlex.split(script(["split", str(two)], out=f"{two}2").splitlines()[-1])[5:7] == ["--out", f"{two}2"]
