"""CLIP and generating models, by name: their files, how they are built, what they are asked."""
