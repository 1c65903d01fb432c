"""LibreTranslate and DeepL against a server of our own on the loopback, and the choice of --translator auto."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.models import http_service
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.stages.translators import apertium, argos, auto, deepl, libretranslate, nllb, opus

Reply = tuple[int, Any, dict[str, str]]


class Server:
    """Answers with what ``reply`` makes of (path, headers, body); keeps all it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.reply: Callable[[str, dict[str, Any], int], Reply] = lambda path, body, number: (200, {}, {})
        self.url = ""
        self.lock = Lock()


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with state.lock:
                state.asked.append((self.path, dict(self.headers), body))
                number = len(state.asked)
            status, answer, headers = state.reply(self.path, body, number)
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()


@pytest.fixture(autouse=True)
def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIBRETRANSLATE_API_KEY", "DEEPL_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def setup(server: Server) -> Setup:
    return Setup("cpu", Decoding(beams=0), base_url=server.url, concurrency=4)


def shouting(path: str, body: dict[str, Any], number: int) -> Reply:
    if "q" in body:
        return 200, {"translatedText": [text.upper() for text in body["q"]]}, {}
    return 200, {"translations": [{"text": text.upper()} for text in body["text"]]}, {}


def test_libretranslate(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.reply = shouting
    monkeypatch.setenv("LIBRETRANSLATE_API_KEY", "secret")
    translator = libretranslate.load("", source="en", target="zh-Hant", setup=setup(server))
    texts = [f"text {number}" for number in range(60)]
    assert translator(texts) == [text.upper() for text in texts]
    assert translator.by == "libretranslate:en-zh-Hant"
    assert sorted(len(body["q"]) for _, _, body in server.asked) == [10, 25, 25]
    path, _, body = server.asked[0]
    assert path == "/translate"
    assert {key: body[key] for key in ("source", "target", "format", "api_key")} == {
        "source": "en", "target": "zt", "format": "text", "api_key": "secret",
    }  # fmt: skip


def test_deepl(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.reply = shouting
    monkeypatch.setenv("DEEPL_API_KEY", "secret:fx")
    translator = deepl.load("", source="en", target="pt", setup=setup(server))
    assert translator(["a cat", "a dog"]) == ["A CAT", "A DOG"]
    path, headers, body = server.asked[0]
    assert path == "/v2/translate"
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == "DeepL-Auth-Key secret:fx"
    assert body == {"text": ["a cat", "a dog"], "source_lang": "EN", "target_lang": "PT-BR"}
    assert deepl.load("PT-PT", source="en", target="pt", setup=setup(server))(["x"]) == ["X"]
    assert server.asked[-1][2]["target_lang"] == "PT-PT"


def test_deepl_without_a_key() -> None:
    with pytest.raises(CapivaraError, match="DEEPL_API_KEY is not set"):
        deepl.load("", source="en", target="pt", setup=Setup())


def test_a_busy_service_is_asked_again(server: Server) -> None:
    def busy(path: str, body: dict[str, Any], number: int) -> Reply:
        if number == 1:
            return 429, {"error": "slow down"}, {"retry-after": "0.1"}
        return (500, {"error": "oops"}, {"retry-after": "0.1"}) if number == 2 else shouting(path, body, number)

    server.reply = busy
    assert libretranslate.load("", source="en", target="pt", setup=setup(server))(["a"]) == ["A"]
    assert len(server.asked) == 3


def test_a_service_that_stays_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "LONGEST_PAUSE", 0.01)
    server.reply = lambda path, body, number: (503, {"error": "gone fishing"}, {})
    with pytest.raises(
        CapivaraError, match="gave up after 8 tries: the server answers HTTP 503: gone fishing"
    ) as caught:
        libretranslate.load("", source="en", target="pt", setup=setup(server))(["a"])
    assert caught.value.hint == "run the same command again when the server can be reached"
    assert len(server.asked) == 8


def test_a_refused_text_costs_no_other(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    def picky(path: str, body: dict[str, Any], number: int) -> Reply:
        return (400, {"error": "no bombs"}, {}) if "bomb" in body["q"] else shouting(path, body, number)

    server.reply = picky
    translator = libretranslate.load("", source="en", target="pt", setup=setup(server))
    assert translator(["a", "bomb", "c"]) == ["A", "", "C"]
    assert translator(["bomb"]) == [""]
    assert capsys.readouterr().err.count("no bombs") == 1


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (403, {"error": "Invalid API key secret"}, "HTTP 403"),
        (456, {"message": "Quota exceeded"}, "HTTP 456: Quota exceeded"),
        (200, {"translations": [{"text": "one"}]}, "1 answers for 2 texts"),
        (200, ["what?"], "the answer has an unexpected form"),
    ],
)
def test_what_is_wrong_with_all_ends_the_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, answer: Any, message: str
) -> None:
    monkeypatch.setenv("DEEPL_API_KEY", "secret")
    server.reply = lambda path, body, number: (status, answer, {})
    with pytest.raises(CapivaraError, match=message) as caught:
        deepl.load("", source="en", target="pt", setup=setup(server))(["a", "b"])
    assert "secret" not in caught.value.message


# --- auto ---


class Found:
    def __init__(self, by: str) -> None:
        self.by = by


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine that has some translators: ``machine(argos=1, apertium=2, repos=["..."], works=["argos"])``."""

    def build(works: tuple[str, ...], argos_hops: int = 0, apertium_hops: int = 0, repos: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(argos, "hops", lambda start, end: argos_hops)
        monkeypatch.setattr(apertium, "hops", lambda start, end: apertium_hops)
        monkeypatch.setattr(auto.hub, "is_cached", lambda repo: repo in repos)
        for module in (argos, apertium, nllb, opus):
            name = module.__name__.rpartition(".")[2]

            def load(variant: str, *, source: str, target: str, setup: Setup, name: str = name) -> Found:
                if name not in works:
                    raise CapivaraError(f"{name}: has no {target}")
                return Found(f"{name}:{source}-{target}")

            monkeypatch.setattr(module, "load", load)

    return build


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"works": ("argos", "nllb"), "argos_hops": 1, "repos": ("facebook/nllb-200-distilled-600M",)}, "argos"),
        ({"works": ("argos", "nllb"), "argos_hops": 2, "repos": ("facebook/nllb-200-distilled-600M",)}, "nllb"),
        ({"works": ("argos", "apertium"), "argos_hops": 2, "apertium_hops": 1}, "apertium"),
        ({"works": ("argos", "apertium"), "argos_hops": 2, "apertium_hops": 2}, "argos"),
        ({"works": ("argos",), "apertium_hops": 0}, "argos"),
        ({"works": ("opus",)}, "opus"),
        ({"works": ("opus", "nllb"), "repos": ("Helsinki-NLP/opus-mt-en-pt",)}, "opus"),
    ],
)
def test_auto_takes_the_best_there_is(
    machine: Callable[..., None], given: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(**given)
    found = auto.load("", source="en", target="pt", setup=Setup("cpu"))
    assert found.by == f"{expected}:en-pt"
    assert capsys.readouterr().err == f"translate: English to Portuguese by {expected}:en-pt\n"


def test_auto_says_why_nothing_works(machine: Callable[..., None]) -> None:
    machine(works=())
    with pytest.raises(CapivaraError, match="auto: nothing translates English to Xhosa here") as caught:
        auto.load("", source="en", target="xh", setup=Setup("cpu"))
    assert caught.value.hint.splitlines()[:4] == [
        "apertium: has no xh", "argos: has no xh", "opus: has no xh", "nllb: has no xh",
    ]  # fmt: skip


def test_hops_are_those_of_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from capivara_cli.languages import get

    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path))
    assert argos.hops(get("en"), get("pt")) == 0
    for start, end in (("en", "es"), ("es", "pt")):
        (tmp_path / f"{start}_{end}" / "model").mkdir(parents=True)
        (tmp_path / f"{start}_{end}" / "metadata.json").write_text(json.dumps({"from_code": start, "to_code": end}))
    assert argos.hops(get("en"), get("es")) == 1
    assert argos.hops(get("en"), get("pt")) == 2
