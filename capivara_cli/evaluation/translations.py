"""Machine-translates captions, class names and templates that an eval set lacks in a language.

A set is translated once: translations are cached on this machine, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from capivara_cli import console, registry
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.evalset import Classes
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption

_CHUNK = 1024
DEFAULT_TRANSLATOR = "argos"
_PLACE = "{}"
_PLACEHOLDERS = (_PLACE, "XYZ", "Ximene")
"""Placeholders for the class name while a template is translated: braces, a word without meaning, a person's name."""


class Translation:
    """Translates from ``source`` to ``target`` by the translator ``spec``; "auto" is Argos.

    The translator is loaded at once, so that a missing one raises ``CapivaraError`` here.
    """

    def __init__(self, spec: str, source: str, target: str, env: Env) -> None:
        spec = DEFAULT_TRANSLATOR if spec == "auto" else spec
        self.target = target
        self._env = env
        setup = Setup(env.settings.device, Decoding(beams=0))
        self._translator: CachedTranslator = env.once(
            ("translator", spec, source, target),
            lambda: CachedTranslator(
                registry.load("translators", spec, source=source, target=target, setup=setup), TranslationMemory()
            ),
        )

    def of(self, captions: Captions) -> Captions:
        """The captions in ``target``, each with its image; empty translations are counted and left out."""
        known = self._translate(list(dict.fromkeys(captions.texts)))
        made = Captions()
        for text, owner in zip(captions.texts, captions.owners, strict=True):
            if known[text].strip():
                made.add(Caption(known[text], self.target, self._translator.by, of=text), owner)
            else:
                self._env.note(f"empty translation to {self.target}")
        return made

    @property
    def by(self) -> str:
        """The translator, and the language it goes through, as results record it."""
        return self._translator.by

    def of_classes(self, classes: Classes, *, translate_templates: bool = True) -> Classes:
        """Names and templates in ``target``.

        A name whose translation is empty, or equals that of another class, stays untranslated and is counted: two
        classes with the same name cannot be told apart.
        """
        known = self._translate(list(classes.names))
        made = [known[name].strip() for name in classes.names]
        twice = {name for name in made if made.count(name) > 1}
        kept = [name if not new or new in twice else new for name, new in zip(classes.names, made, strict=True)]
        if left := sum(name in twice or not name for name in made):
            self._env.note(f"class names not translated to {self.target}: the translation is empty or not unique", left)
        templates, by = self.of_templates(classes.templates) if translate_templates else (classes.templates, "")
        return replace(
            classes, names=tuple(kept), templates=templates, names_by=self.by, templates_by=by, machine_translated=True
        )

    def of_templates(self, templates: Sequence[str]) -> tuple[tuple[str, ...], str]:
        """Templates in ``target``, and who translated them; one that loses its place for the name is left out.

        Raises ``CapivaraError`` if no template is left.
        """
        marked = [template.replace("{c}", "{}") for template in templates]
        found = [_PLACE.join(self._halves(template)) if template.strip() != _PLACE else template for template in marked]
        made = tuple(dict.fromkeys(template for template in found if template.count(_PLACE) == 1))
        if not made:
            raise CapivaraError(
                f"no template can be translated to {self.target}: {self.by} loses the place of the name",
                "give templates with --templates",
            )
        if left := sum(template.count(_PLACE) != 1 for template in found):
            self._env.note(f"templates left out: lost the name in translation to {self.target}", left)
        return made, self.by

    def _halves(self, template: str) -> list[str]:
        """The translation of a template, cut where the name goes, which the first surviving placeholder marks."""
        for placeholder in _PLACEHOLDERS:
            translated = self._translate([template.replace(_PLACE, placeholder)]).popitem()[1]
            if translated.count(placeholder) == 1:
                return translated.split(placeholder)
        return []

    def _translate(self, texts: list[str]) -> dict[str, str]:
        known: dict[str, str] = {}
        progress = console.Progress(f"eval: translating to {self.target}", len(texts))
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            known.update(zip(chunk, self._translator(chunk), strict=True))
            progress.advance(len(chunk))
        progress.close()
        return known
