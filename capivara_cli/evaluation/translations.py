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
from capivara_cli.sample import Caption
from capivara_cli.stage import Env

_CHUNK = 256
DEFAULT_TRANSLATOR = "argos"


def cache_folder() -> Path:
    """``$CAPIVARA_CACHE``, else ``capivara`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("CAPIVARA_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "capivara"


class Translation:
    """From ``source`` to ``target`` by the translator ``spec`` ("auto" is Argos), loaded at once: it may be missing."""

    def __init__(self, spec: str, source: str, target: str, env: Env) -> None:
        spec = DEFAULT_TRANSLATOR if spec == "auto" else spec
        self.target = target
        self._env = env
        self._translator: Any = env.once(
            ("translator", spec, source, target),
            lambda: plugins.load("translators", spec, source=source, target=target, device=env.device),
        )
        self._path = _file(spec, self._translator.by, target)

    def of(self, captions: Captions) -> Captions:
        """The captions in ``target``, each with its image. What translates to nothing is counted and left out."""
        known = self._translate(list(dict.fromkeys(captions.texts)))
        made = Captions()
        for text, owner in zip(captions.texts, captions.owners, strict=True):
            if known[text].strip():
                made.add(Caption(known[text], self.target, self._translator.by, of=text), owner)
            else:
                self._env.note(f"empty translation to {self.target}")
        return made

    def _translate(self, texts: list[str]) -> dict[str, str]:
        known = _read(self._path)
        missing = [text for text in texts if text not in known]
        progress = console.Progress(f"eval: translating to {self.target}", len(missing))
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            found = dict(zip(chunk, self._translator(chunk), strict=True))
            _append(self._path, found)
            known.update(found)
            progress.advance(len(chunk))
        progress.close()
        return known


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
