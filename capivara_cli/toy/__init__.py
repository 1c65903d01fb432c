"""The toy world: a seeded miniature in which the whole method runs with no download.

It is for checking and teaching; its results say nothing about real photos. `scenes` samples symbolic scenes and draws
them, `grammar` puts them into English, Portuguese, Hindi and Xhosa, `tools/build_toy` trains the small models in
`MODELS`. Importing this package loads neither torch nor Pillow.
"""

from __future__ import annotations

from pathlib import Path

MODELS: Path = Path(__file__).resolve().parent / "models"
"""Folder of the shipped toy models, one sub-folder each (`clip`, ...)."""
