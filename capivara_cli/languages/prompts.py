"""What a prompt is: a request to answer, or the beginning of a caption to continue."""

from __future__ import annotations


def is_request(prompt: str) -> bool:
    """Whether a prompt is to be answered; one that does not end as a sentence or a tag does is to be continued.

    >>> is_request("Describe the image."), is_request("<CAPTION>"), is_request("a photo of")
    (True, True, False)
    """
    return prompt.rstrip().endswith((".", "?", "!", ":", ">", "。", "？", "！", "।", "؟"))
