"""Recipes for ``capivara adapt --recipe``: one TOML file per method, with its commands and their options."""
