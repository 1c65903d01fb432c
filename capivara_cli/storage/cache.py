"""The local folder for files that can be computed again: unpacked packages, translations, features."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """``$CAPIVARA_CACHE``, else ``capivara`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. The folder may not exist yet."""
    chosen = os.environ.get("CAPIVARA_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "capivara"
