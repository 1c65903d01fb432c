"""Translation by a service over HTTP: several texts per request, answers in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.models.http_service import Endpoint, Refused

PER_REQUEST = 25


class Service:
    """Calling it translates texts. ``body`` makes a request from texts, ``texts_in`` reads the texts of an answer.

    A refused request is repeated text by text, so that one text does not affect the others. A text that is refused
    alone gives "", and the first reason is printed.
    """

    version = ""  # a service does not report its model version, so translations are not cached

    def __init__(
        self,
        by: str,
        endpoint: Endpoint,
        path: str,
        body: Callable[[Sequence[str]], dict[str, Any]],
        texts_in: Callable[[Any], list[str]],
    ) -> None:
        self.by = by
        self._endpoint = endpoint
        self._path = path
        self._body = body
        self._texts_in = texts_in
        self._said = False

    def __call__(self, texts: list[str]) -> list[str]:
        parts = [texts[start : start + PER_REQUEST] for start in range(0, len(texts), PER_REQUEST)]
        answers = self._endpoint.post_all(self._path, [self._body(part) for part in parts])
        return [text for part, answer in zip(parts, answers, strict=True) for text in self._read(part, answer)]

    def _read(self, part: list[str], answer: Any) -> list[str]:
        if isinstance(answer, Refused):
            if len(part) > 1:
                alone = self._endpoint.post_all(self._path, [self._body([text]) for text in part])
                return [self._read([text], each)[0] for text, each in zip(part, alone, strict=True)]
            if not self._said:
                console.warn(f"{self.by}: refused {part[0][:60]!r}: {answer.why}")
                self._said = True
            return [""]
        try:
            texts = self._texts_in(answer)
        except (KeyError, TypeError, AttributeError) as error:
            raise CapivaraError(
                f"{self.by}: the answer has another form than expected", "is --base-url right?"
            ) from error
        if len(texts) != len(part):
            raise CapivaraError(f"{self.by}: {len(texts)} answers for {len(part)} texts", "is --base-url right?")
        return texts
