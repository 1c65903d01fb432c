"""The formats of ``capivara export``: one file, one format."""
