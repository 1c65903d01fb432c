"""The parts of ``dedupe``: comparing captions, images, and images with those of other sets."""
