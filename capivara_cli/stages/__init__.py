"""Subcommands that read and write samples: one file each."""
