"""Translators: one file, one translator."""
