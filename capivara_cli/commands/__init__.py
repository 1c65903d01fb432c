"""The commands that are no stages: one file each."""
