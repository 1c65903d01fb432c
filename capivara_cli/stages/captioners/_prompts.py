"""Prompts of captioners: which languages they write by default, and requests that name a language."""

from __future__ import annotations

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import PREFIXES

REQUEST = "Write a one-sentence caption of this image."
"""The user's turn in a chat in which a prefix begins the assistant's turn."""
_REQUESTS = (
    "Write a one-sentence caption of this image in {language}.",
    "Describe this image in {language}, in one short sentence.",
    "In {language}, say in one sentence what this picture shows.",
    "What is happening in this image? Answer with one sentence in {language}.",
    "Write an alternative text for this image, one sentence in {language}.",
)

HINTS = (
    "--captioner blip2:PATH or hf:PATH takes a folder with the model",
    "--captioner hf:ORG/NAME takes any other image-to-text model",
    "--captioner openai:MODEL --base-url URL uses a service",
    "--captioner toy takes the small one that is part of capivara (it knows drawn shapes only)",
)
"""What to do when the model cannot be downloaded."""


def english_only(prompts: tuple[str, ...], language: Language, by: str) -> tuple[str, ...]:
    """``prompts`` if the language is English. Raises ``CapivaraError`` otherwise: ``by`` answers them in English."""
    if language.code == "en":
        return prompts
    raise CapivaraError(
        f"--lang {language.code}: {by} writes English only, because it continues English prefixes",
        f"--prefixes FILE with prefixes in {language.name}, if the model knows it; a model that writes it, by "
        f"--captioner hf:ORG/NAME or openai:MODEL; or English captions, and then capivara translate --lang "
        f"{language.code}",
    )


def chat_prompts(language: Language) -> tuple[str, ...]:
    """Prompts of models that follow instructions: the paper's prefixes in English, else requests in the language."""
    return PREFIXES if language.code == "en" else requests(language)


def requests(language: Language) -> tuple[str, ...]:
    """Five requests for a caption in a language, worded differently so that the captions differ.

    >>> from capivara_cli.languages import get
    >>> requests(get("pt"))[0]
    'Write a one-sentence caption of this image in Portuguese.'
    """
    return tuple(request.format(language=language.name) for request in _REQUESTS)


def request_for_prefix(prefix: str) -> str:
    """The request for a caption that begins with a prefix, for a service whose answer cannot be started for it.

    >>> request_for_prefix("uma foto de")
    'Write a one-sentence caption of this image in the language of the words "uma foto de", and begin it with them.'
    """
    return (
        f'Write a one-sentence caption of this image in the language of the words "{prefix}", and begin it with them.'
    )
