"""What captioners share: the paper's prefixes, what a prompt asks for, and how to go on without a model."""

from __future__ import annotations

from capivara_cli.languages import Language

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
"""The ten prefixes of CAPIVARA (arXiv 2310.13683), in its order; one caption is made to continue each."""


def in_english(language: Language) -> bool:
    return language.code == "en"


WAYS = (
    "--captioner blip2:PATH or hf:PATH takes a folder with the model",
    "--captioner hf:ORG/NAME takes any other image-to-text model",
    "--captioner toy takes the small one that is part of capivara (it knows drawn shapes only)",
)
