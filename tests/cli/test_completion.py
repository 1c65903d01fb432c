"""Completion in bash, zsh and fish, by the variables through which the shells ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rich  # noqa: F401  the program leaves it out where it is not imported yet

from capivara_cli import __main__
from capivara_cli.cli import completion, proposals
from capivara_cli.commands.list import KINDS
from capivara_cli.registry import command_names

Shown = pytest.CaptureFixture[str]


def in_bash(line: str, capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The proposals for the last word of a command line, which may be empty."""
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit) as ended:
        completion.answer("complete_bash")
    assert ended.value.code == 0
    return capsys.readouterr().out.split()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs, and a folder of shards that is none."""
    for name in ("runs/pt", "runs/hi", "shards"):
        (tmp_path / name).mkdir(parents=True)
        if name != "shards":
            (tmp_path / name / "run.json").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("capivara tra", ["translate", "train"]),
        ("capivara --v", ["--version"]),
        ("capivara help do", ["doctor"]),
        ("capivara train --sepa", ["--separately"]),
        ("capivara train --rej", []),  # it has no --rejects
        ("capivara train --lang pt", ["pt"]),
        ("capivara train --lang pt,hi,xh", ["pt,hi,xh"]),
        ("capivara train --lang pt,xh,p", ["pt,xh,pa", "pt,xh,pag", "pt,xh,pap", "pt,xh,pl", "pt,xh,prs", "pt,xh,ps"]),
        ("capivara demo --lang ", ["pt", "hi", "xh"]),
        ("capivara caption --captioner ", ["blip2", "hf", "openai", "toy"]),
        ("capivara translate --translator m", ["m2m100", "madlad"]),
        ("capivara rewrite --rewriter e", ["eda"]),
        ("capivara filter --rules length,ju", ["length,junk"]),
        ("capivara train --peft l", ["lora", "layernorm", "lit"]),
        ("capivara train --device c", ["cpu", "cuda", "cuda:0"]),
        ("capivara eval flickr", ["flickr30k"]),
        ("capivara eval runs/", ["runs/hi", "runs/pt"]),
        ("capivara dedupe --against xt", ["xtd"]),
        ("capivara report ", ["runs/hi", "runs/pt"]),
        ("capivara export runs/p", ["runs/pt"]),
        ("capivara search x shards --model r", ["runs/hi", "runs/pt"]),
        ("capivara list eng", ["engines"]),
        ("capivara adapt photos --recipe laclip-e", ["laclip-eda"]),
        ("capivara pack --format kar", ["karpathy"]),
        ("capivara caption sha", []),  # the shell proposes files
        ("capivara nope x", []),
    ],
)
def test_what_bash_proposes(
    line: str, found: list[str], here: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_bash(line, capsys, monkeypatch) == found


def test_every_command_is_proposed(capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_bash("capivara ", capsys, monkeypatch) == [*command_names(), "help"]


def test_zsh_and_fish_explain_their_proposals(capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "capivara tran")
    monkeypatch.setitem(sys.modules, "rich", None)  # as in a process of its own
    shown = {}
    for shell in ("zsh", "fish"):
        with pytest.raises(SystemExit):
            completion.answer(f"complete_{shell}")
        shown[shell] = capsys.readouterr().out.strip()
    text = "Translate captions into other languages and keep the originals, unless --replace is given."
    assert shown["fish"] == f"translate\t{text}"
    assert shown["zsh"] == f'_arguments \'*: :(("translate":"{text}"))\''


def test_nothing_heavy_is_imported_for_the_first_word(tmp_path: Path) -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    code += "from capivara_cli.__main__ import main; sys.argv = ['capivara']; main()"
    env = {**os.environ, "_CAPIVARA_COMPLETE": "complete_bash", "COMP_WORDS": "capivara ", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*command_names(), "help"]
    assert {"torch", "numpy", "PIL", "rich.console", "transformers"} & set(done.stderr.split()) == set()
    assert not any(f"capivara_cli.stages.{name}" in done.stderr.split() for name in command_names())


def test_a_broken_plugin_proposes_nothing(capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    from capivara_cli.errors import CapivaraError

    def broken(kind: str) -> list[str]:
        raise CapivaraError("broken")

    monkeypatch.setattr(proposals.registry, "names", broken)
    assert in_bash("capivara caption --captioner ", capsys, monkeypatch) == []


def test_the_kinds_of_list_are_all_proposed() -> None:
    complete = proposals.of_argument("KIND [WORD]")
    assert complete is not None and {word for word, _ in complete("")} == set(KINDS)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["capivara", *words])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    return int(ended.value.code or 0)


def test_the_script_is_shown_and_installed(capsys: Shown, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, "--show-completion", "bash") == 0
    script = capsys.readouterr().out
    assert "_CAPIVARA_COMPLETE=complete_bash" in script and "complete -o default -F" in script
    monkeypatch.setenv("HOME", str(tmp_path))
    for words, file in (
        (["--install-completion", "bash"], ".bash_completions/capivara.sh"),
        (["--install-completion=zsh"], ".zfunc/_capivara"),
        (["--install-completion", "fish"], ".config/fish/completions/capivara.fish"),
    ):
        assert run(monkeypatch, *words) == 0
        assert (
            f"complete_{'bash' if 'bash' in file else 'zsh' if 'zfunc' in file else 'fish'}"
            in (tmp_path / file).read_text()
        )
        assert str(tmp_path / file) in capsys.readouterr().err


def test_another_shell_is_refused(capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--install-completion", "tcsh") == 2
    assert "there is no completion for 'tcsh'" in capsys.readouterr().err
