"""The contract of each kind of plugin, for ``capivara check``."""
