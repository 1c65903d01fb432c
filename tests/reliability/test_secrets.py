"""Keys and passwords come from the environment and from URLs, and appear in no message and no file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support import variants
from support.made import a_sample, jpeg, shard_bytes
from support.warm import CAPIVARA

from capivara_cli.shards.sample import Caption
from capivara_cli.stages.importers._photos import Photo

KEY = "sk-0123456789abcdef-secret"
PASSWORD = "pass-0123456789-word"
SIGNATURE = "sig-0123456789-nature"
SECRETS = (KEY, PASSWORD, SIGNATURE)
LEDGER = "costs.jsonl"


class Service:
    """Serves one shard to GET; answers POST with ``status``, repeating the key that it was given."""

    def __init__(self) -> None:
        self.shard = b""
        self.status = 200
        self.asked: list[dict[str, str]] = []
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://someone:{PASSWORD}@127.0.0.1:{self.port}{path}"


@pytest.fixture
def service() -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(dict(self.headers))
            if not self.path.startswith("/00000.tar"):
                self.answer(404, f"no {self.path}".encode())
                return
            wanted = self.headers.get("range", "")
            if wanted.startswith("bytes="):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                end = min(int(last or len(state.shard)), len(state.shard) - 1)
                whole = f"bytes {first}-{end}/{len(state.shard)}"
                self.answer(206, state.shard[int(first) : end + 1], {"content-range": whole})
            else:
                self.answer(200, state.shard)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.asked.append(dict(self.headers))
            said = self.headers.get("authorization", "") + self.headers.get("host", "")
            if state.status != 200:
                answer: Any = {"error": {"message": f"{said} is not allowed here: {KEY} {state.url('/v1')}"}}
            elif "messages" in body:
                answer = {"choices": [{"message": {"content": "a red square"}}]}
            else:
                answer = {"translations": [{"text": text.upper()} for text in body["text"]]}
            self.answer(state.status, json.dumps(answer).encode())

        def answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "content-length": str(len(data)), "etag": '"1"'}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, daemon=True).start()
    state.port = http.server_port
    samples = [
        a_sample(
            f"{number}", Caption(f"a red square {number}", "en", "alt"), Caption("um quadrado", "pt", "alt"),
            image=jpeg((40 * number, 30, 90)),
        )
        for number in range(4)
    ]  # fmt: skip
    state.shard = shard_bytes(samples)
    yield state
    http.shutdown()


def capivara(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run one command with every secret in its environment."""
    keys = dict.fromkeys(("OPENAI_API_KEY", "DEEPL_API_KEY", "HF_TOKEN", "LIBRETRANSLATE_API_KEY"), KEY)
    given = {**os.environ, **keys, "CAPIVARA_CACHE": str(folder / "cache"), **environment}
    line = [*CAPIVARA, *words, "--summary", "summary.json", "--ledger", LEDGER]
    return subprocess.run(line, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, env=given, timeout=200)


def assert_kept_secret(folder: Path, *done: subprocess.CompletedProcess[bytes]) -> None:
    """No secret in the messages, nor in any written file: manifests, tars, ledgers, caches, cards."""
    said = b"".join(each.stderr + each.stdout for each in done)
    assert [secret for secret in SECRETS if secret.encode() in said] == [], said.decode()
    told = [
        (str(path.relative_to(folder)), secret)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for secret in SECRETS
        if secret.encode() in path.read_bytes()
    ]
    assert told == []


@pytest.mark.parametrize("status", variants.some([200, 404, 400, 401], 2))  # 403 is taken as 401
def test_keys_and_passwords_of_a_chat_service(status: int, service: Service, tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(service.shard)
    service.status = status
    plain = ["--base-url", f"http://127.0.0.1:{service.port}/v1", "--concurrency", "2", "--out"]
    asked = ["--base-url", service.url("/v1"), "--concurrency", "2", "--out"]
    done = [
        capivara(tmp_path, "caption", "s.tar", "--captioner", "openai:model", "--n", "1", *plain, "captioned"),
        capivara(tmp_path, "rewrite", "s.tar", "--rewriter", "openai:model", *asked, "rewritten"),
        capivara(tmp_path, "translate", "s.tar", "--translator", "deepl", "--lang", "hi", *asked, "translated"),
    ]
    sent = {
        value.partition(" ")[0]: value
        for each in service.asked
        for name, value in each.items()
        if name.lower() == "authorization"
    }
    assert KEY in sent["Bearer"] and "Basic" in sent  # the key and the password do go to the service
    assert {each.returncode for each in done} == ({0} if status in (200, 400) else {1}), [each.stderr for each in done]
    assert b"127.0.0.1" in b"".join(each.stderr for each in done) or status in (200, 400)
    assert_kept_secret(tmp_path, *done)


def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(shard_bytes([a_sample("a", Caption("a dog", "en", "alt"))]))
    url = f"ftp://someone:{PASSWORD}@host/v1?key={SIGNATURE}"
    done = capivara(tmp_path, "caption", "s.tar", "--captioner", "openai:m", "--base-url", url, "--out", "o")
    assert done.returncode == 1
    assert b"--base-url ftp://host/v1" in done.stderr
    assert_kept_secret(tmp_path, done)


def test_passwords_and_signatures_of_shards(service: Service, tmp_path: Path) -> None:
    url = service.url(f"/00000.tar?signature={SIGNATURE}&expires=1")
    train = ["train", url, "--lang", "pt", "--model", "toy", "--steps", "1", "--batch-size", "2", "--name", "pt"]
    done = [
        capivara(tmp_path, "split", url, "--fraction", "0", "--out", "o"),
        capivara(tmp_path, "show", url, "--html", "show.html"),
        capivara(tmp_path, "search", "x", url, "--model", "toy", "--html", "search.html"),
        capivara(tmp_path, "search", "x", url, "--model", "toy"),
        capivara(tmp_path, *train),
        capivara(tmp_path, "eval", url, "runs/pt", "--model", "toy", "--table", "t.csv,t.md,t.tex"),
        capivara(tmp_path, "report", "runs/pt", "--shards", "o"),
        capivara(tmp_path, "export", "runs/pt", "--hf", "hub"),
        capivara(tmp_path, "pack", url, "--out", "packed"),
    ]
    assert [each.returncode for each in done[:-1]] == [0] * 8, [each.stderr for each in done]
    assert (tmp_path / "runs" / "pt" / "MODEL_CARD.md").is_file() and (tmp_path / "o" / "manifest.jsonl").is_file()
    assert_kept_secret(tmp_path, *done)


@pytest.mark.parametrize("words", [["split"], ["show"], ["eval", "--model", "toy"], ["search", "x", "--model", "toy"]])
def test_a_url_that_cannot_be_read_is_named_without_its_secrets(
    words: list[str], service: Service, tmp_path: Path
) -> None:
    url = service.url(f"/gone.tar?signature={SIGNATURE}")
    done = capivara(tmp_path, *words, url)
    assert done.returncode == 1
    assert f"http://127.0.0.1:{service.port}/gone.tar".encode() in done.stderr
    assert_kept_secret(tmp_path, done)


def test_a_list_of_urls_that_cannot_be_reached(service: Service, tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    rows = "".join(f"{service.url(f'/{number}.jpg')}?s={SIGNATURE},a dog\n" for number in range(3))
    (tmp_path / "list" / "list.csv").write_text(f"url,caption\n{rows}")
    done = capivara(tmp_path, "pack", "list/list.csv", "--out", "o")
    said = done.stderr + done.stdout
    assert done.returncode == 1
    assert [secret for secret in SECRETS if secret.encode() in said] == [], said.decode()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("https://me:pw@host/photo?id=7&X-Amz-Signature=f00&token=x", "https://host/photo?id=7"),
        ("https://host/a.jpg?sv=2024&se=1&sp=r&sig=abc", "https://host/a.jpg"),
        ("https://host/a.jpg?api_key=1&w=300&monkey=2", "https://host/a.jpg?w=300&monkey=2"),
        ("http://host/a.jpg", "http://host/a.jpg"),
    ],
)
def test_the_stored_url_of_an_image(given: str, stored: str) -> None:
    assert json.loads(Photo(given, [given]).json())["file"] == stored
