"""What models that follow instructions are asked for, in any language, and what is taken from their answers."""

from __future__ import annotations

from capivara_cli.languages import Language

REQUEST = "Write a one-sentence caption of this image."
"""What a chat model is asked before it is made to begin its answer with a prefix."""


_REQUESTS = (
    "Write a one-sentence caption of this image in {language}.",
    "Describe this image in {language}, in one short sentence.",
    "In {language}, say in one sentence what this picture shows.",
    "What is happening in this image? Answer with one sentence in {language}.",
    "Write an alternative text for this image, one sentence in {language}.",
)


def requests(language: Language) -> tuple[str, ...]:
    """Five requests for a caption in a language: asked differently, a model says different things.

    >>> from capivara_cli.languages import get
    >>> requests(get("pt"))[0]
    'Write a one-sentence caption of this image in Portuguese.'
    """
    return tuple(request.format(language=language.name) for request in _REQUESTS)


def asking_for(prefix: str) -> str:
    """The request for a caption that begins with a prefix, for a service whose answer cannot be begun for it.

    >>> asking_for("uma foto de")
    'Write a one-sentence caption of this image in the language of the words "uma foto de", and begin it with them.'
    """
    return (
        f'Write a one-sentence caption of this image in the language of the words "{prefix}", and begin it with them.'
    )
