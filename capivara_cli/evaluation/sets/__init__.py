"""Eval sets: one file per set."""
