"""Prompts that captioners share: the paper's prefixes, what counts as a request, and the quotation marks of answers."""

from __future__ import annotations

PREFIXES = (
    "the foreground features",
    "a photo of",
    "a picture of",
    "this is a scene depicting",
    "an image of",
    "portrait of a",
    "this image captures a moment of",
    "a painting of",
    "an art of",
    "the picture shows",
)
"""The ten prefixes of CAPIVARA (arXiv 2310.13683), in its order. The captioner continues each of them once."""
_QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»", "„": "“", "「": "」", "*": "*"}  # fmt: skip


def is_request(prompt: str) -> bool:
    """Whether the model answers a prompt (it ends as a sentence or a tag does) instead of continuing it.

    >>> is_request("Describe the image."), is_request("<CAPTION>"), is_request("a photo of")
    (True, True, False)
    """
    return prompt.rstrip().endswith((".", "?", "!", ":", ">", "。", "？", "！", "।", "؟"))


def unquoted(answer: str) -> str:
    """Remove the quotation marks (or asterisks) around a whole answer.

    >>> unquoted('"A dog."'), unquoted('"Stop" says a sign'), unquoted('"Stop" and "Go"')
    ('A dog.', '"Stop" says a sign', '"Stop" and "Go"')
    """
    text = answer.strip()
    closing = _QUOTES.get(text[:1])
    if closing and len(text) > 2 and text.endswith(closing) and closing not in text[1:-1]:
        return text[1:-1].strip()
    return text
