"""Evaluation sets: one file each."""
