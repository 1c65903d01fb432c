"""What a plugin imports: the interface of each kind, and the types in it. ``docs/extending.md`` has an example of each.

A plugin is a module that an entry point of its package names, in the group of its kind (``capivara.translators``). The
classes ``…Plugin`` describe such a module, the others what its ``load`` returns. They are protocols: nothing has to
inherit from them, and a type checker compares a module with one by ``_: TranslatorPlugin = my_translator``.
``capivara check KIND NAME`` runs an installed plugin and says what is wrong with it.

Errors: raise ``CapivaraError`` for what the user can mend, with a hint, ``Unsupported`` for languages that the plugin
lacks, and ``BadSample`` for one sample that cannot be used, where the interface says so. Everything else is reported as
a fault of the package. Threads: only ``Captioner.prepare``, and the ``prepare`` that a stage gives to ``map_batched``,
are called in several threads at a time. Processes: ``--workers N`` loads a plugin once in each of N processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from capivara_cli.console import print_result, say, warn
from capivara_cli.errors import BadSample, CapivaraError, Unsupported, UsageError
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.languages import Language
from capivara_cli.languages.identify import Identifier
from capivara_cli.languages.translation_memory import Translator
from capivara_cli.models.generation import Decoding, Draw, RewriteRequest, Setup, seed_of
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.batches import map_batched, map_each, map_texts
from capivara_cli.pipeline.command import Command, command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, group, opt, output, parsed
from capivara_cli.pipeline.source import Source
from capivara_cli.pipeline.stage import CorpusFunctions, Stage, stage
from capivara_cli.plugin_errors import PluginError
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample, encode_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from capivara_cli.pipeline.books import Books
    from capivara_cli.pipeline.sharded_plan import ShardedPlan
    from capivara_cli.pipeline.workers.job import Job

__all__ = [
    "BadSample", "CapivaraError", "Caption", "Captioner", "CaptionerPlugin", "Command", "CorpusFunctions",
    "Decoding", "Draw", "Engine", "EnginePlugin", "Env", "EvalSet", "EvalSetPlugin", "ExporterPlugin", "Identifier",
    "IdentifierPlugin", "ImporterPlugin", "Language", "PackSettings", "PluginError", "Provenance", "RewriteRequest",
    "Rewriter", "RewriterOptions", "RewriterPlugin", "RunDir", "Sample", "Settings", "Setup", "Source", "Stage",
    "Stream", "Translator", "TranslatorPlugin", "Unsupported", "UsageError", "command", "decode_image",
    "encode_json", "group", "map_batched", "map_each", "map_texts", "opt", "output", "parsed", "print_result",
    "say", "seed_of", "stage", "warn",
]  # fmt: skip


class Captioner(Protocol):
    """Writes captions of images. ``by`` is stored with each caption; ``batch_size`` images are captioned at a time.

    The same draw of the same image gives the same text, whatever else is in the batch.
    """

    by: str
    batch_size: int

    def prompts(self, language: Language, /) -> Sequence[str]:
        """The prompts or questions of a language, at least one, of which each gives a caption: "a photo of".

        Raises ``Unsupported`` for a language that the captioner cannot write.
        """
        ...

    def prepare(self, image: Image, /) -> Any:
        """What the model needs of one RGB image. Called in threads. A ``BadSample`` drops the sample."""
        ...

    def __call__(self, prepared: Sequence[Any], /) -> Callable[[Sequence[Sequence[Draw]]], list[list[str]]]:
        """Encode 1 to ``batch_size`` images, and return a function that can be called several times.

        It takes the draws of each image and returns as many texts for each. A draw is a prompt and a seed; without a
        seed the likeliest text is wanted. A text may begin with its prompt, and "" is no caption.
        """
        ...


class CaptionerPlugin(Protocol):
    """A module in ``capivara.captioners``. Its docstring's first line is its listing."""

    def load(self, variant: str, /, *, setup: Setup) -> Captioner:
        """The captioner ``--captioner NAME:variant``, once per process. Raises ``CapivaraError`` if it cannot run."""
        ...


class TranslatorPlugin(Protocol):
    """A module in ``capivara.translators``.

    Optional functions: ``pairs()`` returns the (source, target) codes that it translates, or "any". Another pair is
    then an error before any work, ``auto`` considers the plugin, and ``capivara list languages`` shows it.
    ``installed()`` returns those (from, to) codes that are ready on this machine, if that is not all of ``pairs``.
    """

    def load(self, variant: str, /, *, source: str, target: str, setup: Setup) -> Translator:
        """The translator between two BCP-47 codes, once per pair and process. Raises ``Unsupported`` for others."""
        ...


class Rewriter(Protocol):
    """Rewrites captions. ``by`` begins with ``rewrite:``.

    Two attributes are optional: ``exemplars``, the texts shown to a model, none of which is accepted as a rewrite, and
    ``is_too_long(text)``, whether a text cannot be rewritten.
    """

    by: str

    def __call__(self, requests: list[RewriteRequest], /) -> list[str]:
        """As many texts as there are requests, in their order; "" where it has none.

        The same request gives the same text, whatever else is in the list.
        """
        ...


class RewriterOptions(Protocol):
    """The options of ``rewrite`` that a rewriter may use; the flags have these names, ``pivots`` is --via."""

    @property
    def exemplars(self) -> str: ...

    @property
    def shots(self) -> int: ...

    @property
    def synonyms(self) -> str: ...

    @property
    def translator(self) -> str: ...

    @property
    def cache(self) -> bool: ...

    @property
    def pivots(self) -> list[Language]: ...


class RewriterPlugin(Protocol):
    """A module in ``capivara.rewriters``."""

    def load(self, variant: str, /, *, language: Language, setup: Setup, options: RewriterOptions) -> Rewriter:
        """The rewriter ``--rewriter NAME:variant``, once per process. Raises ``Unsupported`` for another language."""
        ...


class PackSettings(Protocol):
    """The part of the options of ``pack`` that an importer may use.

    ``code`` is the language of captions for which the source gives none, ``images`` the folder of image files that a
    table names ("" for its own), ``splits`` the only splits to read, () for all.
    """

    @property
    def code(self) -> str: ...

    @property
    def images(self) -> str: ...

    @property
    def splits(self) -> tuple[str, ...]: ...


class ImporterPlugin(Protocol):
    """A module in ``capivara.importers``. It parses its sources itself; images are verified by ``pack``."""

    def recognise(self, path: Path, /) -> bool:
        """Whether it reads this file or folder, which may not exist. It is asked about sources of all kinds."""
        ...

    def read(self, path: Path, options: PackSettings, env: Env, /) -> Iterable[Sample]:
        """Yield the samples, with different keys.

        ``env.tally.read += 1`` counts each of them, also one that is dropped: ``env.fail(sample, reason)``. Raises
        ``CapivaraError`` for a source that cannot be read.
        """
        ...


class EvalSetPlugin(Protocol):
    """A module in ``capivara.evalsets``. All languages of a set have the same images in the same order."""

    def languages(self, variant: str, /) -> Sequence[str]:
        """The BCP-47 codes of its captions or class names."""
        ...

    def load(self, variant: str, /, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
        """One language of the set. ``data`` is the folder of ``--data``, or ""; ``split`` is that of ``--split``.

        Raises ``CapivaraError`` for missing data here, not when samples are read: no model is loaded in vain.
        """
        ...


class ExporterPlugin(Protocol):
    """A module in ``capivara.exporters``."""

    def write(self, run: RunDir, folder: Path, final: Path, /) -> str:
        """Fill ``folder``, an empty one that becomes ``final``, and return one line that says how to load it.

        Raises ``CapivaraError`` for a model that the format cannot express.
        """
        ...


class Engine(Protocol):
    """Starts the workers of a plan over shards."""

    def run(self, job: Job, plan: ShardedPlan, books: Books, settings: Settings, /) -> None:
        """Write the shards ``job.indices``: ``plan.run(indices)`` in this process, or a ``Job`` sent to others.

        ``job.text()`` is one line of JSON for ``python -m capivara_cli.pipeline.workers.worker``.
        """
        ...


class EnginePlugin(Protocol):
    """A module in ``capivara.engines``."""

    def load(self, variant: str, /) -> Engine:
        """The engine ``--engine NAME:variant``."""
        ...


class IdentifierPlugin(Protocol):
    """A module in ``capivara.identifiers``."""

    def load(self, variant: str, /) -> Identifier:
        """The identifier ``NAME:variant``, once per process."""
        ...
