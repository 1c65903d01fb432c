"""Models that describe an image: one file each."""
