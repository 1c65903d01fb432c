"""Readers of other people's data: one file each."""
