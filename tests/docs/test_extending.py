"""A package with a plugin of every kind, made of docs/extending.md alone, through the command line."""

from __future__ import annotations

import ast
import io
import json
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from reliability.running import Ran, run
from support import made_package
from support.made import ROOT
from support.reported import a_run

from capivara_cli import registry
from capivara_cli.models.run_folder import RunDir
from capivara_cli.shards.archive import ShardReader
from capivara_cli.shards.sample import Sample

KINDS = {kind: name for kind, entries in made_package.project().items() for name in entries}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made_package.install(folder)
    return folder


@pytest.fixture
def folder(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source of the importer: three images and a missing one. The package is installed."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (64, 64), {"green": (0, 255, 0)}.get(colour, colour)).save(tmp_path / f"{colour}.png")
    lines = [f"{colour}.png a {colour} square" for colour in ("red", "green", "blue", "black")]
    (tmp_path / "list.lines").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def packed(folder: Path) -> Path:
    """The same folder, with the samples in ``shards``."""
    ran = capivara("pack list.lines --out shards", folder)
    assert ran.counts == (4, 3, {"the image file is missing": 1})
    return folder


def capivara(line: str, folder: Path) -> Ran:
    ran = run([*line.split(), "--summary", "summary.json"], folder)
    assert ran.code == 0, ran.said
    return ran


def texts(data: bytes, lang: str = "en") -> list[list[str]]:
    return [[each.text for each in sample.captions if each.lang == lang] for sample in samples(data)]


def samples(data: bytes) -> list[Sample]:
    return list(ShardReader(io.BytesIO(data), "shard"))


def shard(folder: Path, out: str = "out") -> bytes:
    (path,) = (folder / out).glob("*.tar")
    return path.read_bytes()


def test_every_kind_has_an_example_of_at_most_25_lines() -> None:
    assert KINDS.keys() == registry.KINDS.keys()
    assert len(made_package.files()) == len(KINDS)
    for path, code in made_package.files().items():
        assert len(code.splitlines()) <= 25, path
        assert max(map(len, code.splitlines())) <= 120, path


def test_the_examples_import_nothing_of_capivara_but_its_plugin_interface() -> None:
    for path, code in made_package.files().items():
        for node in ast.walk(ast.parse(code)):
            named = [node.module] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name for name in named if "capivara" in str(name)} <= {"capivara_cli.plugins"}, path


def test_the_importer(packed: Path) -> None:
    found = samples(shard(packed, "shards"))
    assert [(each.key, [*each.members]) for each in found] == [
        ("000000", ["png", "json"]), ("000001", ["png", "json"]), ("000002", ["png", "json"]),
    ]  # fmt: skip
    assert [(each.text, each.lang, each.by) for each in found[0].captions] == [("a red square", "en", "alt")]


def test_another_version_of_the_package_is_another_plan(packed: Path, site: Path) -> None:
    assert capivara("pack list.lines --out shards", packed).summary["resumed_shards"] == 1
    metadata = site / "my_plugins-0.1.0.dist-info" / "METADATA"
    before = metadata.read_text()
    metadata.write_text(before.replace("0.1.0", "0.2.0"))
    ran = run(["pack", "list.lines", "--out", "shards"], packed)
    metadata.write_text(before)
    assert ran.code == 1
    assert "the version of the importer of list.lines changed" in ran.said


def test_the_captioner(packed: Path) -> None:
    capivara("caption shards --captioner colours --n 2 --out out", packed)
    assert [found[1:] for found in texts(shard(packed))] == [
        [f"a picture in {colour}", f"something in {colour}"] for colour in ("red", "green", "blue")
    ]
    ran = run(["caption", "shards", "--captioner", "colours", "--lang", "pt", "--out", "pt"], packed)
    assert (ran.code, ran.said.splitlines()[-1]) == (1, "capivara: colours: writes English, not Portuguese")


@pytest.mark.parametrize("name", ["glossary", "auto"])
def test_the_translator(name: str, packed: Path) -> None:
    capivara(f"translate shards --translator {name} --lang pt --out out", packed)
    found = samples(shard(packed))
    assert texts(shard(packed), "pt") == [["um vermelho quadrado"], ["um verde quadrado"], ["um azul quadrado"]]
    assert {each.by for sample in found for each in sample.captions} == {"alt", "glossary:en-pt"}


def test_the_rewriter(packed: Path) -> None:
    capivara("rewrite shards --rewriter openings --out out", packed)
    for before, after in texts(shard(packed)):
        assert after.endswith(before) and after.split()[0] in ("here", "we", "there")


def test_the_eval_set(folder: Path) -> None:
    ran = capivara("eval squares --model toy --lang en,pt --no-energy", folder)
    assert "squares" in ran.said
    assert "squares" in json.dumps(ran.summary)


def test_the_exporter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunDir, "check_adapter", lambda self: None)
    a_run(folder / "runs" / "pt")
    (folder / "runs" / "pt" / "adapter" / "adapter_config.json").write_text("{}")
    ran = capivara("export runs/pt --format zip --out exported", folder)
    assert zipfile.ZipFile(folder / "exported" / "adapter.zip").namelist() == ["adapter_config.json"]
    assert f"unzip {folder}/exported/adapter.zip" in ran.said


def test_the_stage_in_a_folder_a_pipe_and_a_plan(packed: Path) -> None:
    capivara("shout shards --out out", packed)
    assert texts(shard(packed)) == [["A RED SQUARE"], ["A GREEN SQUARE"], ["A BLUE SQUARE"]]
    (packed / "piped.tar").write_bytes(run(["shout", "shards"], packed).shown)
    assert samples((packed / "piped.tar").read_bytes()) == samples(shard(packed))
    from_pipe = run(["shout", "--lang", "pt"], packed, stdin=packed / "piped.tar").shown
    assert samples(from_pipe) == samples(shard(packed))
    ran = run(["run", "shout | split --fraction 0", "shards", "--out", "planned"], packed)
    assert ran.code == 0, ran.said
    assert texts(shard(packed, "planned")) == texts(shard(packed))
    assert capivara("shout shards --out out", packed).summary["resumed_shards"] == 1


def test_the_stage_in_worker_processes(packed: Path) -> None:
    capivara("shout shards --out out --workers 2", packed)
    assert texts(shard(packed)) == [["A RED SQUARE"], ["A GREEN SQUARE"], ["A BLUE SQUARE"]]


def test_the_options_of_the_stage(packed: Path) -> None:
    capivara("shout shards --lang pt --out out", packed)
    assert texts(shard(packed)) == [["a red square"], ["a green square"], ["a blue square"]]
    ran = run(["shout", "shards", "--lnag", "pt"], packed)
    assert ran.code == 2


def test_the_command(packed: Path) -> None:
    assert capivara("tally shards", packed).shown == b"en 3\n"
    ran = capivara("tally shards --json --least 4", packed)
    assert json.loads(ran.shown)["captions"] == {}


def test_the_identifier_and_the_engine(packed: Path) -> None:
    from capivara_cli.languages import identify

    assert identify.language_of("não é à toa, há três", "accents") == "pt"
    assert identify.supported_codes("accents") == {"en", "pt"}
    capivara("split shards --engine here --out out", packed)
    capivara("split shards --out alone", packed)
    assert shard(packed) == shard(packed, "alone")


@pytest.mark.parametrize("name", ["shout", "tally"])
def test_help(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from capivara_cli.cli.overview import help_page

    page = help_page()
    assert (
        "─ From other packages ─" in page and "│ shout      Shout: captions in capitals" in page and "│ tally " in page
    )
    ran = run([name, "--help"], folder)
    assert ran.code == 0
    page = ran.shown.decode()
    assert f"Usage: capivara {name} " in page
    assert ("captions in this language" if name == "shout" else "leave out languages with fewer captions") in page


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_list(kind: str, name: str, folder: Path) -> None:
    ran = capivara(f"list {kind}", folder)
    code = made_package.files()[project_file(kind, name)]
    about = code.splitlines()[0].strip('"').partition(": capivara ")[0]
    assert any(line.startswith(f"{name} ") and about in line for line in ran.shown.decode().splitlines())
    assert ran.said == ""


def project_file(kind: str, name: str) -> str:
    return made_package.project()[kind][name].replace(".", "/") + ".py"


EXAMPLES = {"importers": "list.lines", "exporters": "runs/pt"}


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_check_finds_nothing_wrong(kind: str, name: str, folder: Path) -> None:
    if kind == "exporters":
        a_run(folder / "runs" / "pt")
    example = f" --example {EXAMPLES[kind]}" if kind in EXAMPLES else ""
    ran = capivara(f"check {kind.removesuffix('s')} {name}{example}", folder)
    assert ran.summary["wrong"] == 0
    assert [each["point"] for each in ran.summary["points"] if each["right"] is None] == (
        ["its function"] if kind == "commands" else []
    )
    assert "my-plugins 0.1.0" in ran.shown.decode()


def test_the_languages_of_the_translator(folder: Path) -> None:
    rows = {line.split()[0]: line for line in capivara("list languages", folder).shown.decode().splitlines()}
    assert "glossary from en" in rows["pt"] and "glossary from pt" in rows["en"]


def test_python_imports_nothing_of_the_package_to_list_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("my_plugins")]:
        monkeypatch.delitem(sys.modules, name)
    from capivara_cli.cli.overview import help_page

    assert "shout" in help_page()
    assert [registry.describe(kind, name) for kind, name in KINDS.items()]
    assert not [name for name in sys.modules if name.startswith("my_plugins")]
