"""LibreTranslate, a service you can run yourself (--base-url http://localhost:5000), with the languages of Argos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from capivara_cli.languages import get
from capivara_cli.models.generation import Setup
from capivara_cli.models.http_service import Endpoint
from capivara_cli.stages.translators._service import ServiceTranslator
from capivara_cli.urls import public_url

DEFAULT_URL = "http://localhost:5000"
_CODES = {"zh-Hant": "zt"}


def load(variant: str, *, source: str, target: str, setup: Setup) -> ServiceTranslator:
    """The service at ``--base-url``; its key, if it needs one, is ``$LIBRETRANSLATE_API_KEY``."""
    start, end = get(source), get(target)
    endpoint = Endpoint(setup.base_url or DEFAULT_URL, concurrency=setup.concurrency)
    key = os.environ.get("LIBRETRANSLATE_API_KEY", "")

    def body(texts: Sequence[str]) -> dict[str, Any]:
        request = {"q": list(texts), "source": _code(start.code), "target": _code(end.code), "format": "text"}
        return {**request, "api_key": key} if key else request

    def texts_in(answer: Any) -> list[str]:
        return list(answer["translatedText"])

    return ServiceTranslator(f"libretranslate:{start.code}-{end.code}", endpoint, "translate", body, texts_in)


def identity(variant: str, *, source: str | None, target: str, base_url: str) -> str | None:
    """The URL of the service, which reports no version: another service may have other models."""
    return public_url(base_url or DEFAULT_URL)


def _code(code: str) -> str:
    return _CODES.get(code, code)
