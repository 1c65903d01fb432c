"""What starts the workers that fill a folder of shards: one file each, ``load(variant)`` -> an ``Engine``."""
