"""Importers: one file, one format."""
