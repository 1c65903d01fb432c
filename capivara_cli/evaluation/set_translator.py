"""Machine translation of the captions, class names and templates that an eval set lacks in a language.

A set is translated once, because translations are cached on this machine, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.evalset import Classes
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.languages import translators
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption

_CHUNK = 1024
DEFAULT_TRANSLATOR = "argos"
_BRACES = "{}"
_PLACEHOLDERS = (_BRACES, "XYZ", "Ximene")
"""Placeholders for the class name in a template to translate: braces, a word without meaning, a person's name."""


class SetTranslator:
    """Translates an eval set from ``source`` to ``target`` by the translator ``spec``; "auto" is Argos.

    The translator is loaded here, so a missing one raises ``CapivaraError`` before a model is loaded.
    """

    def __init__(self, spec: str, source: str, target: str, env: Env) -> None:
        spec = DEFAULT_TRANSLATOR if spec == "auto" else spec
        self.target = target
        self._env = env
        setup = Setup(env.settings.device, Decoding(beams=0))

        def loaded() -> CachedTranslator:
            translator = translators.load(spec, source=source, target=target, setup=setup)
            return CachedTranslator(translator, TranslationMemory(), target, f"{spec} {source}>{target}")

        self._translator: CachedTranslator = env.once(("translator", spec, source, target), loaded)

    def of(self, captions: Captions) -> Captions:
        """The captions in ``target``, each with its image. Empty translations are counted and dropped."""
        translated = self._translate(list(dict.fromkeys(captions.texts)))
        found = Captions()
        for text, owner in zip(captions.texts, captions.owners, strict=True):
            if translated[text].strip():
                found.add(Caption(translated[text], self.target, self._translator.by, of=text), owner)
            else:
                self._env.note(f"empty translation to {self.target}")
        return found

    @property
    def by(self) -> str:
        """The translator and its pivot language, as results record them."""
        return self._translator.by

    def of_classes(self, classes: Classes, *, translate_templates: bool = True) -> Classes:
        """The class names and templates in ``target``.

        A name whose translation is empty or equals that of another class stays untranslated and is counted, because
        two classes with the same name cannot be distinguished.
        """
        translated = self._translate(list(classes.names))
        found = [translated[name].strip() for name in classes.names]
        repeated = {name for name in found if found.count(name) > 1}
        kept = [name if not new or new in repeated else new for name, new in zip(classes.names, found, strict=True)]
        if lost := sum(name in repeated or not name for name in found):
            self._env.note(f"class names not translated to {self.target}: the translation is empty or not unique", lost)
        templates, by = self.of_templates(classes.templates) if translate_templates else (classes.templates, "")
        return replace(
            classes, names=tuple(kept), templates=templates, names_by=self.by, templates_by=by, machine_translated=True
        )

    def of_templates(self, templates: Sequence[str]) -> tuple[tuple[str, ...], str]:
        """The templates in ``target``, and their translator. A template that loses its placeholder is dropped.

        Raises ``CapivaraError`` if no template is left.
        """
        marked = [template.replace("{c}", _BRACES) for template in templates]
        found = [each if each.strip() == _BRACES else _BRACES.join(self._halves(each)) for each in marked]
        kept = tuple(dict.fromkeys(template for template in found if template.count(_BRACES) == 1))
        if not kept:
            raise CapivaraError(
                f"no template can be translated to {self.target}: {self.by} drops the placeholder of the class name",
                "give templates with --templates",
            )
        if count := sum(template.count(_BRACES) != 1 for template in found):
            self._env.note(f"templates dropped: the translation to {self.target} lost the class name", count)
        return kept, self.by

    def _halves(self, template: str) -> list[str]:
        """The translation of a template before and after the class name; [] if no placeholder survives it.

        The placeholders are tried in turn.
        """
        for placeholder in _PLACEHOLDERS:
            translated = self._translate([template.replace(_BRACES, placeholder)]).popitem()[1]
            if translated.count(placeholder) == 1:
                return translated.split(placeholder)
        return []

    def _translate(self, texts: list[str]) -> dict[str, str]:
        translated: dict[str, str] = {}
        progress = console.Progress(f"eval: translating to {self.target}", len(texts))
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            translated.update(zip(chunk, self._translator(chunk), strict=True))
            progress.advance(len(chunk))
        progress.close()
        return translated
