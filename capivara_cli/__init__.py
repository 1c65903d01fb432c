"""capivara: teach CLIP your language, one WebDataset shard at a time.

As a library: ``import capivara_cli as capivara``, then ``capivara.read("shards")``. docs/api.md has all functions.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from capivara_cli.errors import CapivaraError as CapivaraError
    from capivara_cli.errors import UsageError as UsageError
    from capivara_cli.library.commands import Run as Run
    from capivara_cli.library.commands import adapt as adapt
    from capivara_cli.library.commands import evaluate as evaluate
    from capivara_cli.library.commands import export as export
    from capivara_cli.library.commands import footprint as footprint
    from capivara_cli.library.commands import search as search
    from capivara_cli.library.commands import train as train
    from capivara_cli.library.loader import webdataset as webdataset
    from capivara_cli.library.model import Model as Model
    from capivara_cli.library.model import load as load
    from capivara_cli.library.pipeline import Pipeline as Pipeline
    from capivara_cli.library.results import Evaluation as Evaluation
    from capivara_cli.library.results import FootprintTable as FootprintTable
    from capivara_cli.library.results import FoundImage as FoundImage
    from capivara_cli.library.samples import Sample as Sample
    from capivara_cli.library.shards import Shards as Shards
    from capivara_cli.library.shards import read as read
    from capivara_cli.library.stages import caption as caption
    from capivara_cli.library.stages import dedupe as dedupe
    from capivara_cli.library.stages import filter as filter  # noqa: A004  the name of the stage
    from capivara_cli.library.stages import pack as pack
    from capivara_cli.library.stages import rewrite as rewrite
    from capivara_cli.library.stages import split as split
    from capivara_cli.library.stages import translate as translate
    from capivara_cli.library.writing import write as write
    from capivara_cli.shards.sample import Caption as Caption

_MODULES = {
    "errors": "CapivaraError UsageError",
    "library.commands": "Run adapt evaluate export footprint search train",
    "library.loader": "webdataset",
    "library.model": "Model load",
    "library.pipeline": "Pipeline",
    "library.results": "Evaluation FootprintTable FoundImage",
    "library.samples": "Sample",
    "library.shards": "Shards read",
    "library.stages": "caption dedupe filter pack rewrite split translate",
    "library.writing": "write",
    "shards.sample": "Caption",
}
"""The modules with the public names, which are imported when one of these is used: commands use none. There is no
``__all__``, because ``from capivara_cli import *`` would hide Python's own ``filter``."""
_LIBRARY = {name: module for module, names in _MODULES.items() for name in names.split()}


if not TYPE_CHECKING:  # to a type checker every name would exist

    def __getattr__(name):
        if name not in _LIBRARY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_LIBRARY[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LIBRARY})
