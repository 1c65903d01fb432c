"""Captioners: one file, one captioner."""
