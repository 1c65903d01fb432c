"""Search: an index of image embeddings on disk, the best images of it for a query, and how they are shown."""
