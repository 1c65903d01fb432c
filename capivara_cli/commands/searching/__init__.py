"""Image search: the index on disk, exact and approximate search, and how results are shown."""
