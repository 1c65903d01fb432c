"""Checks of a translation against its text, one file for each kind of fault."""
