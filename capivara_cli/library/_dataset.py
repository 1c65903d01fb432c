"""The class of ``webdataset``. In a file of its own, because importing webdataset imports torch."""

from __future__ import annotations

from webdataset.compat import FluidInterface
from webdataset.pipeline import DataPipeline


class Dataset(DataPipeline, FluidInterface):  # type: ignore[misc, unused-ignore]
    """A webdataset pipeline with the methods of ``webdataset.WebDataset``, on capivara's reader."""
