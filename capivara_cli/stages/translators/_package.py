"""One Argos Translate package, run with SentencePiece and CTranslate2, without the sentence splitter Argos downloads.

An ``.argosmodel`` is a zip of one folder: ``metadata.json``, ``model/`` (CTranslate2) and ``sentencepiece.model``. The
decoding is that of ``argostranslate.translate.apply_packaged_translation`` (beam 4, length penalty 0.2, unknown words
copied), but texts are translated in batches, where Argos translates one text at a time.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language, get
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators._ctranslate2 import best_translations, checksum, count_operations, translator_in
from capivara_cli.stages.translators._route import Pair, by_chain
from capivara_cli.stages.translators._sentences import join, split
from capivara_cli.storage import cache

BEAM_SIZE = 4
LENGTH_PENALTY = 0.2
MAX_PIECE = 200
"""The longest input in tokens: the models were trained on sentences, and CTranslate2 stops after 256 output tokens."""

_MAX_UNPACKED = 4 << 30


class ArgosPackage:
    """An unpacked package. Calling it translates texts, in order; the models are loaded at the first call."""

    def __init__(self, folder: Path, setup: Setup) -> None:
        self.folder = folder
        self.setup = setup
        self.metadata = read_metadata(folder)
        self.target_prefix: str = self.metadata.get("target_prefix", "")
        self.beams = setup.decoding.beams or BEAM_SIZE

    @property
    def version(self) -> str:
        """Identifies everything that decides a translation: the package, weights, tokenizer and number of beams."""
        name = "-".join(str(self.metadata.get(key, "")) for key in ("from_code", "to_code", "package_version"))
        return f"{name} {checksum(self.folder / 'model')} {checksum(self.folder)} beams={self.beams}"

    @cached_property
    def tokenizer(self) -> Any:
        """Argos' own tokenizer classes: SentencePiece, or BPE in some early packages."""
        bpe = self.folder / "bpe.model"
        if bpe.is_file():
            from argostranslate.tokenizer import BPETokenizer

            return BPETokenizer(bpe, self.metadata["from_code"], self.metadata["to_code"])
        from argostranslate.tokenizer import SentencePieceTokenizer

        tokenizer = SentencePieceTokenizer(self.folder / "sentencepiece.model")
        try:
            tokenizer.encode("")  # loads it
        except (RuntimeError, OSError, ValueError) as error:
            raise CapivaraError(f"{self.folder / 'sentencepiece.model'}: cannot be loaded: {error}") from error
        return tokenizer

    @cached_property
    def model(self) -> Any:
        return translator_in(self.folder / "model", self.setup.device)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        pieces = [_pieces(self.tokenizer, text, self._source) for text in texts]
        flat = [tokens for pieces_of_text in pieces for tokens in pieces_of_text]
        settings = {"beam_size": self.beams, "length_penalty": LENGTH_PENALTY, "replace_unknowns": True}
        translated = best_translations(self.model, flat, self.target_prefix, settings)
        written = sum(map(len, translated))
        count_operations(self.folder / "model", sum(map(len, flat)), written, self.beams)
        each = iter(translated)
        return [self._text([next(each) for _ in tokens]) for tokens in pieces]

    def _text(self, pieces: list[list[str]]) -> str:
        """Translated tokens of the pieces of one text -> the text."""
        texts = [self.tokenizer.decode([each for each in piece if each != self.target_prefix]) for piece in pieces]
        return join(texts, self._script)

    @cached_property
    def _script(self) -> str:
        """The script of the target language; "" for a code that is not in the table."""
        language = _language(self.metadata["to_code"])
        return language.script if language else ""

    @cached_property
    def _source(self) -> str:
        """The code of the source language."""
        language = _language(self.metadata["from_code"])
        return language.code if language else ""


def _language(code: str) -> Language | None:
    try:
        return get(code)
    except CapivaraError:
        return None


class ArgosChain:
    """Packages applied in sequence: ``en-es`` then ``es-pt``. ``by`` names every language of the chain."""

    def __init__(self, name: str, folders: dict[Pair, Path], chain: list[Pair], setup: Setup) -> None:
        self.by = by_chain(name, chain)
        self.packages = [ArgosPackage(folders[pair], setup) for pair in chain]
        self.version = " | ".join(package.version for package in self.packages)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Translate texts, in order; equal texts are translated once."""
        distinct = list(dict.fromkeys(texts))
        translated = distinct
        for package in self.packages:
            translated = package(translated)
        translations = dict(zip(distinct, translated, strict=True))
        return [translations[text] for text in texts]


def _pieces(tokenizer: Any, text: str, code: str) -> list[list[str]]:
    """Tokens of each sentence of a text in language ``code``; one longer than ``MAX_PIECE`` is cut between words."""
    pieces: list[list[str]] = []
    for sentence in split(text, code):
        tokens = tokenizer.encode(sentence)
        while len(tokens) > MAX_PIECE:
            cut = next((index for index in range(MAX_PIECE, 0, -1) if tokens[index].startswith("▁")), MAX_PIECE)
            pieces.append(tokens[:cut])
            tokens = tokens[cut:]
        if tokens:
            pieces.append(tokens)
    return pieces


def read_metadata(folder: Path) -> dict[str, Any]:
    """``metadata.json`` of an unpacked package. Raises ``CapivaraError`` if the folder is not a package."""
    try:
        metadata = json.loads((folder / "metadata.json").read_text("utf-8"))
        has_pair = isinstance(metadata["from_code"], str) and isinstance(metadata["to_code"], str)
    except (OSError, ValueError, TypeError, KeyError):
        has_pair = False
    if not has_pair:
        raise CapivaraError(f"{folder}: not an Argos translation package: no from_code and to_code in metadata.json")
    return metadata


def pairs_in(folder: Path) -> dict[Pair, Path]:
    """Language pair -> folder of its package, for a folder of packages; of two versions the later name wins."""
    found: dict[Pair, Path] = {}
    for each in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (each / "metadata.json").is_file() and (each / "model").is_dir():
            metadata = read_metadata(each)
            found[metadata["from_code"], metadata["to_code"]] = each
    return found


def unpack(file: Path) -> Path:
    """Unpack an ``.argosmodel`` into the private cache, once per content; returns the folder of the package.

    Raises ``CapivaraError`` if the file is missing, is not a zip or a package, or has a member that points outside.
    """
    try:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise CapivaraError(f"{file}: cannot be read: {error.strerror}") from error
    packages = cache.folder() / "argos"
    home = packages / digest
    if not home.is_dir():
        packages.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=packages, prefix="unpacking-") as partial:
            extract(file, Path(partial) / "package")
            try:
                (Path(partial) / "package").replace(home)
            except OSError:  # another process was faster
                if not home.is_dir():
                    raise
    for folder in (home, *sorted(home.iterdir())):
        if (folder / "metadata.json").is_file() and (folder / "model").is_dir():
            return folder
    shutil.rmtree(home)
    raise CapivaraError(f"{file}: has no Argos translation package (a folder with metadata.json and model/)")


def extract(file: Path, folder: Path) -> None:
    """Unpack an ``.argosmodel`` into a folder. Raises ``CapivaraError`` if it is damaged, or points outside."""
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.startswith(("/", "\\")) or ":" in name or ".." in re.split(r"[/\\]", name):
                    raise CapivaraError(f"{file}: refused: its member {name!r} points outside the package")
            if sum(member.file_size for member in archive.infolist()) > _MAX_UNPACKED:
                raise CapivaraError(f"{file}: refused: it unpacks to more than {_MAX_UNPACKED >> 30} GB")
            archive.extractall(folder)
    except (zipfile.BadZipFile, EOFError) as error:
        raise CapivaraError(f"{file}: not an Argos package: not a zip archive, or a damaged one") from error
