"""Rewriters: one file, one rewriter."""
