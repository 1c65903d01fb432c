"""Whole methods as files: which commands, with which options; one TOML file each, for ``capivara adapt --recipe``."""
