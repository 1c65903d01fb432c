"""The toy world: small seeded data and models with which the whole method runs without a download.

It is for tests and teaching; its results say nothing about real photos. `scenes` samples symbolic scenes and draws
them. `grammar` describes them in English, Portuguese, Hindi and Xhosa. `tools/build_toy` trains the models in `MODELS`.
Importing this package imports neither torch nor Pillow.
"""

from __future__ import annotations

from pathlib import Path

MODELS: Path = Path(__file__).resolve().parent / "models"
"""The folder of the shipped toy models, with one subfolder for each (`clip`, ...)."""
