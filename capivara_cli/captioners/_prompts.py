"""What captioners share: the paper's prefixes and the length of a caption, and how to go on without a model."""

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
"""The ten prefixes of CAPIVARA (arXiv 2310.13683), in its order; one caption is made to continue each."""

MAX_NEW_TOKENS = 50

WAYS = (
    "--captioner blip2:PATH or hf:PATH takes a folder with the model",
    "--captioner hf:ORG/NAME takes any other image-to-text model",
    "--captioner toy takes the small one that is part of capivara (it knows drawn shapes only)",
)
