"""Forms to export to: one file, one form."""
