"""Prompts that several stages share: the paper's prefixes, tests for requests, and removal of quotation marks."""

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
"""The ten prefixes of CAPIVARA (arXiv 2310.13683), in the paper's order. The captioner continues each once."""
_QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»", "„": "“", "「": "」", "*": "*"}  # fmt: skip


def is_request(prompt: str) -> bool:
    """Whether a model answers a prompt instead of continuing it: the prompt ends like a sentence or a tag.

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
