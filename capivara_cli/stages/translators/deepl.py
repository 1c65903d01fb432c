"""DeepL, a commercial service for thirty languages; the key is $DEEPL_API_KEY."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import get
from capivara_cli.models.generation import Setup
from capivara_cli.models.http_service import Endpoint
from capivara_cli.stages.translators._service import ServiceTranslator

URL, FREE_URL = "https://api.deepl.com", "https://api-free.deepl.com"
# DeepL requires the variety of these languages as targets.
_TARGETS = {"en": "EN-US", "pt": "PT-BR", "zh": "ZH-HANS", "zh-Hant": "ZH-HANT"}


def load(variant: str, *, source: str, target: str, setup: Setup) -> ServiceTranslator:
    """``deepl:PT-PT`` names the variety of the target. Keys that end in ``:fx`` use the URL of free accounts."""
    start, end = get(source), get(target)
    key = os.environ.get("DEEPL_API_KEY", "")
    if not key and not setup.base_url:
        raise CapivaraError("DEEPL_API_KEY is not set", "set it, or use another translator: capivara list translators")
    url = setup.base_url or (FREE_URL if key.endswith(":fx") else URL)
    endpoint = Endpoint(url, key_variable="DEEPL_API_KEY", scheme="DeepL-Auth-Key", concurrency=setup.concurrency)
    target_code = variant or _TARGETS.get(end.code, end.code.upper())

    def body(texts: Sequence[str]) -> dict[str, Any]:
        return {"text": list(texts), "source_lang": start.code.partition("-")[0].upper(), "target_lang": target_code}

    def texts_in(answer: Any) -> list[str]:
        return [each["text"] for each in answer["translations"]]

    return ServiceTranslator(f"deepl:{start.code}-{end.code}", endpoint, "v2/translate", body, texts_in)
