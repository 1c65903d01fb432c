"""Captions of an eval set in a language it does not have: machine-translated, kept on disk, and labelled as such.

A set is translated once. The file of a translator grows by whole lines as it works, so a run that is cut off loses
little, and a line torn by a kill is translated again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from capivara_cli import console, plugins
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.stage import Env

_CHUNK = 256
DEFAULT_TRANSLATOR = "argos"


def cache_folder() -> Path:
    """``$CAPIVARA_CACHE``, else ``capivara`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("CAPIVARA_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "capivara"


def translated(captions: Captions, source: str, target: str, spec: str, env: Env) -> Captions:
    """The captions of language ``source`` in ``target``, by the translator ``spec`` ("auto" is Argos)."""
    spec = DEFAULT_TRANSLATOR if spec == "auto" else spec
    translator: Any = env.once(
        ("translator", spec, source, target),
        lambda: plugins.load("translators", spec, source=source, target=target, device=env.device),
    )
    path = _file(spec, translator.by, target)
    known = _read(path)
    missing = [text for text in dict.fromkeys(captions.texts) if text not in known]
    progress = console.Progress(f"eval: translating to {target}", len(missing))
    for start in range(0, len(missing), _CHUNK):
        chunk = missing[start : start + _CHUNK]
        found = dict(zip(chunk, translator(chunk), strict=True))
        _append(path, found)
        known.update(found)
        progress.advance(len(chunk))
    progress.close()
    kept = [(known[text], owner) for text, owner in zip(captions.texts, captions.owners, strict=True)]
    result = Captions(n_translated=len(kept))
    result.texts = [text for text, _ in kept if text.strip()]
    result.owners = [owner for text, owner in kept if text.strip()]
    result.by[translator.by] = result.n_translated = len(result.texts)
    if len(result.texts) < len(kept):
        env.note(f"empty translation to {target}", len(kept) - len(result.texts))
    return result


def _file(spec: str, by: str, target: str) -> Path:
    digest = hashlib.sha256(f"{spec}\n{by}\n{target}".encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9]+", "-", by).strip("-")
    return cache_folder() / "translations" / f"{name}-{digest}.jsonl"


def _read(path: Path) -> dict[str, str]:
    known: dict[str, str] = {}
    if path.is_file():
        for line in path.read_bytes().split(b"\n"):
            try:
                text, translation = json.loads(line)
            except (ValueError, TypeError):  # the empty line before a chunk, or one torn by a kill
                continue
            known[text] = translation
    return known


def _append(path: Path, found: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in found.items())
    with open(path, "ab") as out:
        out.write(b"\n" + lines.encode("utf-8", "surrogatepass"))
