"""Eval sets: one file, one set."""
