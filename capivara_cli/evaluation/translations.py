"""Captions of an eval set in a language it does not have: machine-translated, kept on disk, and labelled as such.

A set is translated once: what was translated is remembered on this machine, chunk by chunk.
"""

from __future__ import annotations

from capivara_cli import console, plugins
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.generation import Decoding, Setup
from capivara_cli.sample import Caption
from capivara_cli.stage import Env
from capivara_cli.translation_memory import Remembering, TranslationMemory

_CHUNK = 1024
DEFAULT_TRANSLATOR = "argos"


class Translation:
    """From ``source`` to ``target`` by the translator ``spec`` ("auto" is Argos), loaded at once: it may be missing."""

    def __init__(self, spec: str, source: str, target: str, env: Env) -> None:
        spec = DEFAULT_TRANSLATOR if spec == "auto" else spec
        self.target = target
        self._env = env
        setup = Setup(env.settings.device, Decoding(beams=0))
        self._translator: Remembering = env.once(
            ("translator", spec, source, target),
            lambda: Remembering(
                plugins.load("translators", spec, source=source, target=target, setup=setup), TranslationMemory()
            ),
        )

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
        known: dict[str, str] = {}
        progress = console.Progress(f"eval: translating to {self.target}", len(texts))
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            known.update(zip(chunk, self._translator(chunk), strict=True))
            progress.advance(len(chunk))
        progress.close()
        return known
