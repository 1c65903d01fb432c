"""What ``dedupe`` compares: captions, images, and other sets."""
