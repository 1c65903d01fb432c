"""Machine translation: one file each."""
