"""CLIP and generating models by name: finding their files, building them, and running them."""
