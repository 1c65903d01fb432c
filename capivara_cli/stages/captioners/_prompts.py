"""What captioners share: the paper's prefixes, what a prompt asks for, and how to go on without a model."""

from __future__ import annotations

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language


def in_english(language: Language) -> bool:
    return language.code == "en"


def only_english(by: str, language: Language) -> tuple[str, ...]:
    """No prompts: raises ``CapivaraError`` for a language that a model which continues English prefixes is to write."""
    raise CapivaraError(
        f"--lang {language.code}: {by} is given English prefixes to continue, so it would not write {language.name}",
        f"--prefixes FILE with prefixes in {language.name}, if the model knows it; a model that writes it, by "
        f"--captioner hf:ORG/NAME or openai:MODEL; or English captions, and then capivara translate --lang "
        f"{language.code}",
    )


WAYS = (
    "--captioner blip2:PATH or hf:PATH takes a folder with the model",
    "--captioner hf:ORG/NAME takes any other image-to-text model",
    "--captioner openai:MODEL --base-url URL asks a service",
    "--captioner toy takes the small one that is part of capivara (it knows drawn shapes only)",
)
