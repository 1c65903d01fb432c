"""Subcommands that end a stream: one file each."""
