"""Launchers: each file is one way to start the worker processes of a plan (``--engine``)."""
