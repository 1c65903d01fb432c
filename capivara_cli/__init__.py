"""capivara: teach CLIP your language, one WebDataset shard at a time."""

__version__ = "0.1.0"
