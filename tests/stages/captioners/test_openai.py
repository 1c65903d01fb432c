"""openai:MODEL against a real HTTP server: what is asked, what goes wrong, and what a kill costs."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Event, Lock, Thread
from typing import Any

import pytest
from PIL import Image
from support.made import a_sample, jpeg
from support.warm import CAPIVARA

from capivara_cli import languages
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.models.generation import Decoding, Draw, Setup
from capivara_cli.models.http_service import Endpoint, Refusal
from capivara_cli.shards.images import decode_image
from capivara_cli.stages.captioners import openai

ENGLISH, PORTUGUESE = languages.get("en"), languages.get("pt")
REQUEST = "Describe the image."

Reply = tuple[int, Any, dict[str, str]]


def says(text: str) -> Reply:
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}, {}


def fails(status: int, message: str, **headers: str) -> Reply:
    return status, {"error": {"message": message}}, headers


class Service:
    """A chat service in a thread; ``reply(number, body)`` is what it answers to the ``number``-th request."""

    def __init__(self) -> None:
        self.reply: Callable[[int, dict[str, Any]], Reply | None] = lambda number, body: says("a dog")
        self.heard: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        lock, service = Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    service.heard.append(body)
                    service.keys.append(self.headers["authorization"])
                    number = len(service.heard) - 1
                reply = service.reply(number, body)
                if reply is None:  # the connection is dropped
                    self.close_connection = True
                    return
                status, said, headers = reply
                data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that was killed is none
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


class NoPause(Event):
    """Waits for nothing, and remembers how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout or 0.0)
        return self.is_set()


def loaded(service: Service, concurrency: int = 4, **decoding: Any) -> openai.ServiceCaptioner:
    setup = Setup("cpu", Decoding(**decoding), base_url=service.url, concurrency=concurrency)
    captioner = openai.load("some-model", setup=setup)
    captioner.chat.endpoint._failed = NoPause()
    return captioner


def pauses(captioner: openai.ServiceCaptioner) -> list[float]:
    given_up = captioner.chat.endpoint._failed
    assert isinstance(given_up, NoPause)
    return given_up.asked


def captions_of(captioner: openai.ServiceCaptioner, images: list[Image.Image], draws: list[Draw]) -> list[list[str]]:
    return captioner([captioner.prepare(image) for image in images])([draws] * len(images))


def picture(color: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, color)


def text_of(body: dict[str, Any]) -> str:
    (turn,) = body["messages"]
    return next(part["text"] for part in turn["content"] if part["type"] == "text")


def image_of(body: dict[str, Any]) -> Image.Image:
    (turn,) = body["messages"]
    url = next(part["image_url"]["url"] for part in turn["content"] if part["type"] == "image_url")
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return decode_image(base64.b64decode(data))


def test_what_is_asked(service: Service) -> None:
    captioner = loaded(service, max_tokens=33, temperature=0.7, top_p=0.8)
    captions_of(captioner, [picture()], [Draw(REQUEST), Draw("uma foto de", 2**40 + 5)])
    plain, sampled = sorted(service.heard, key=lambda body: body["temperature"])
    rest = {name: value for name, value in plain.items() if name != "messages"}
    assert rest == {"model": "some-model", "max_tokens": 33, "temperature": 0.0}
    assert text_of(plain) == REQUEST
    assert image_of(plain).size == (64, 48)
    assert abs(image_of(plain).getpixel((9, 9))[0] - 200) < 4
    rest = {name: value for name, value in sampled.items() if name != "messages"}
    assert rest == {
        "model": "some-model",
        "max_tokens": 33,
        "temperature": 0.7,
        "top_p": 0.8,
        "seed": 2**40 % 2**31 + 5,
    }
    assert text_of(sampled).endswith('in the language of the words "uma foto de", and begin it with them.')
    assert set(service.keys) == {"Bearer sk-very-secret"}
    assert captioner.by == "openai:some-model"


def test_the_language_is_named(service: Service) -> None:
    captioner = loaded(service)
    assert captioner.prompts(ENGLISH) == PREFIXES
    assert all("Portuguese" in prompt for prompt in captioner.prompts(PORTUGUESE))
    captions_of(captioner, [picture()], [Draw(captioner.prompts(PORTUGUESE)[0])])
    assert text_of(service.heard[0]) == "Write a one-sentence caption of this image in Portuguese."


def test_a_large_image_is_scaled_down(service: Service) -> None:
    captions_of(loaded(service), [picture(size=(3000, 1500)), picture(size=(1024, 10))], [Draw(REQUEST)])
    assert sorted(image_of(body).size for body in service.heard) == [(1024, 10), (1024, 512)]


def test_answers_become_texts(service: Service) -> None:
    answers = {"a photo of": '"A Photo of a dog."', "an image of": "There is a dog.", REQUEST: " “Um cão.” \n"}
    service.reply = lambda number, body: says(next(answers[key] for key in answers if key in text_of(body)))
    rows = captions_of(loaded(service), [picture()], [Draw(prompt) for prompt in answers])
    assert rows == [["a photo of a dog.", "There is a dog.", "Um cão."]]


def test_requests_go_out_together_and_answers_come_back_in_order(service: Service) -> None:
    """Three at a time: no answer before three have been asked for. A fourth never comes beside them."""
    barrier, flying, most, lock = Barrier(3), [0], [0], Lock()

    def reply(number: int, body: dict[str, Any]) -> Reply:
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        barrier.wait(timeout=20)
        with lock:
            flying[0] -= 1
        return says(f"{image_of(body).getpixel((0, 0))[0] // 40} {text_of(body)}")

    service.reply = reply
    images = [picture((40 * number + 20, 0, 0)) for number in range(6)]
    captioner = loaded(service, concurrency=3)
    texts_of = captioner([captioner.prepare(image) for image in images])
    rows = texts_of([[Draw("One."), Draw("Two.")], [Draw("One.")], [], *[[Draw("Two.")]] * 3])
    assert rows == [["0 One.", "0 Two."], ["1 One."], [], ["3 Two."], ["4 Two."], ["5 Two."]]
    assert most == [3]
    assert captioner([])([]) == []


@pytest.mark.parametrize(
    "trouble",
    [fails(429, "slow down", retry_after="7"), fails(500, "oops"), fails(503, "loading"), None],
    ids=["429", "500", "503", "dropped"],
)
def test_trouble_that_passes(trouble: Reply | None, service: Service) -> None:
    service.reply = lambda number, body: says("a dog") if number >= 2 else trouble
    captioner = loaded(service, concurrency=1)
    assert captions_of(captioner, [picture()], [Draw(REQUEST)]) == [["a dog"]]
    assert len(service.heard) == 3
    assert service.heard[0] == service.heard[1] == service.heard[2]
    later = pauses(captioner)
    if trouble and trouble[0] == 429:
        assert later == [7.0, 7.0]  # as long as the service says
    else:
        assert 0.375 <= later[0] <= 0.625 < 0.75 <= later[1] <= 1.25


def test_trouble_that_stays(service: Service) -> None:
    service.reply = lambda number, body: fails(500, "out of order, sk-very-secret")
    captioner = loaded(service, concurrency=1)
    with pytest.raises(
        CapivaraError, match=r"gave up after 8 tries: the server answers HTTP 500: out of order, \(the key\)"
    ) as caught:
        captions_of(captioner, [picture()], [Draw(REQUEST), Draw("Another.")])
    assert "run the same command again" in caught.value.hint
    assert captioner.chat.endpoint._failed.is_set()
    assert max(pauses(captioner)) <= 60


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_not_shown(status: int, service: Service) -> None:
    service.reply = lambda number, body: fails(status, "no such key: sk-very-secret")
    with pytest.raises(CapivaraError, match=rf"HTTP {status}: no such key: \(the key\)$") as caught:
        captions_of(loaded(service, concurrency=1), [picture()], [Draw(REQUEST)])
    assert caught.value.hint == "set OPENAI_API_KEY in the environment"
    assert len(service.heard) == 1


def test_a_refused_image_costs_its_captions_only(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    def reply(number: int, body: dict[str, Any]) -> Reply:
        return fails(400, "content policy") if image_of(body).getpixel((0, 0))[0] > 150 else says("a dog")

    service.reply = reply
    images = [picture((20, 0, 0)), picture((220, 0, 0)), picture((60, 0, 0))]
    rows = captions_of(loaded(service), images, [Draw("One."), Draw("Two.")])
    assert rows == [["a dog", "a dog"], ["", ""], ["a dog", "a dog"]]
    assert len(service.heard) == 6  # and none of them twice
    said = capsys.readouterr().err
    assert said.count("openai:some-model: the service refused a caption, and may refuse others: content policy") == 1


def test_what_a_model_does_not_take_is_left_out(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """As OpenAI's reasoning models: another name for the length, and no temperature but their own."""

    def reply(number: int, body: dict[str, Any]) -> Reply:
        for name in ("max_tokens", "temperature"):
            if name in body:
                code = {"max_tokens": "unsupported_parameter", "temperature": "unsupported_value"}[name]
                return 400, {"error": {"message": f"no {name} here", "param": name, "code": code}}, {}
        return says(str(body["max_completion_tokens"]))

    service.reply = reply
    captioner = loaded(service, max_tokens=21)
    assert captions_of(captioner, [picture()], [Draw("One."), Draw("Two.")]) == [["21", "21"]]
    assert len(service.heard) == 6
    assert captions_of(captioner, [picture()], [Draw("One.")]) == [["21"]]
    assert len(service.heard) == 7
    assert capsys.readouterr().err == (
        "warning: some-model: does not take temperature, which is omitted: no temperature here\n"
    )
    service.reply = lambda number, body: (
        400, {"error": {"message": "no", "param": "temperature", "code": "unsupported_value"}}, {},
    )  # fmt: skip
    assert captions_of(captioner, [picture()], [Draw("One.")]) == [[""]]  # and does not ask for ever


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (fails(404, "no model some-model"), "HTTP 404: no model some-model"),
        ((200, "<html>", {}), "the answer is not JSON"),
        ((200, {"models": []}, {}), r"no choices\[0\]\.message\.content"),
    ],
)
def test_what_is_no_chat_service(reply: Reply, message: str, service: Service) -> None:
    service.reply = lambda number, body: reply
    with pytest.raises(CapivaraError, match=message):
        captions_of(loaded(service, concurrency=1), [picture()], [Draw(REQUEST)])


def test_mistakes_are_found_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(CapivaraError, match="no model is named"):
        openai.load("", setup=Setup())
    with pytest.raises(CapivaraError, match="OPENAI_API_KEY is not set"):
        openai.load("gpt-4o-mini", setup=Setup())
    with pytest.raises(CapivaraError, match="--base-url localhost:8000: not a URL"):
        openai.load("m", setup=Setup(base_url="localhost:8000"))
    local = "http://127.0.0.1:9/v1"
    with pytest.raises(UsageError, match="--beams, --bits: a service has no such setting"):
        openai.load("m", setup=Setup(decoding=Decoding(beams=3), bits=8, base_url=local))
    monkeypatch.setenv("OPENAI_BASE_URL", local)
    assert openai.load("m", setup=Setup()).chat.endpoint.base_url == local


def test_nobody_there() -> None:
    endpoint = Endpoint("http://127.0.0.1:9", tries=2)
    endpoint._failed = NoPause()
    with pytest.raises(CapivaraError, match="gave up after 2 tries"):
        endpoint.post("x", {})
    assert Refusal("why") == Refusal("why", "")


# --- the whole command ---


def image_number(body: dict[str, Any]) -> int:
    red: int = image_of(body).getpixel((0, 0))[0]
    return red // 20


def command(source: Path, out: Path, service: Service, *options: str) -> list[str]:
    return [
        *CAPIVARA, "caption", str(source), "--out", str(out), "--captioner", "openai:m",
        "--base-url", service.url, "--no-energy", *options,
    ]  # fmt: skip


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def test_killed_and_gone_on_with(service: Service, shards: Callable[..., Path], tmp_path: Path) -> None:
    """A request that was answered in a finished batch is not paid for again; the bytes are those of a run in one go."""
    samples = [a_sample(f"{number:02d}", image=jpeg((20 * number + 10, 0, 0))) for number in range(12)]
    source = shards(samples)
    options = ["--n", "3", "--lang", "pt", "--batch-size", "2", "--concurrency", "2"]
    environment = {**os.environ, "CAPIVARA_LEDGER": ""}
    third_batch, killed = Event(), Event()

    def reply(number: int, body: dict[str, Any]) -> Reply:
        if number >= 15:  # of requests 12 to 17, that of the third batch
            third_batch.set()
            killed.wait(timeout=60)
        return says(f"uma foto {image_number(body)} {text_of(body)}")

    service.reply = reply
    out = tmp_path / "out"
    first = subprocess.Popen(command(source, out, service, *options), env=environment, stderr=subprocess.PIPE)
    assert third_batch.wait(timeout=60)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    killed.set()
    assert not outputs(out)
    subprocess.run(command(source, out, service, *options), env=environment, check=True, capture_output=True)
    asked = Counter((image_number(body), text_of(body)) for body in service.heard)
    assert len(asked) == 36
    assert {image for (image, _), count in asked.items() if count > 1} <= {4, 5}  # the batch that was under way
    whole = tmp_path / "whole"
    subprocess.run(command(source, whole, service, *options), env=environment, check=True, capture_output=True)
    assert outputs(out) == outputs(whole) != {}
    again = len(service.heard)
    subprocess.run(command(source, out, service, *options), env=environment, check=True, capture_output=True)
    assert len(service.heard) == again
