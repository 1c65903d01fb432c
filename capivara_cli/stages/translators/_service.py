"""Translation by a service over HTTP: several texts per request, answers in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.models.http_service import Endpoint, Refusal

PER_REQUEST = 25


class ServiceTranslator:
    """Translates texts by a service. ``body`` makes a request from texts, ``texts_in`` reads the texts of an answer.

    A refused request is repeated text by text, so that one text does not affect the others. A text that is refused
    alone gives "", with one warning.
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
        self._warned = False

    def __call__(self, texts: list[str]) -> list[str]:
        parts = [texts[start : start + PER_REQUEST] for start in range(0, len(texts), PER_REQUEST)]
        answers = self._endpoint.post_all(self._path, [self._body(part) for part in parts])
        return [text for part, answer in zip(parts, answers, strict=True) for text in self._read(part, answer)]

    def _read(self, part: list[str], answer: Any) -> list[str]:
        if isinstance(answer, Refusal):
            if len(part) > 1:
                alone = self._endpoint.post_all(self._path, [self._body([text]) for text in part])
                return [self._read([text], each)[0] for text, each in zip(part, alone, strict=True)]
            if not self._warned:
                console.warn(f"{self.by}: the service refused {part[0][:60]!r}: {answer.reason}")
                self._warned = True
            return [""]
        try:
            texts = self._texts_in(answer)
        except (KeyError, TypeError, AttributeError) as error:
            raise CapivaraError(f"{self.by}: the answer has an unexpected form", "is --base-url right?") from error
        if len(texts) != len(part):
            raise CapivaraError(f"{self.by}: {len(texts)} answers for {len(part)} texts", "is --base-url right?")
        return texts
