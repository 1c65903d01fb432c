"""Near-duplicates: captions of an image, images of a corpus, and images that are also in other sets."""
