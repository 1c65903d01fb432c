"""The library, ``import capivara_cli as capivara``: stages, training, models and evaluation as functions for programs.

Calls are quiet unless ``progress=True``, leave standard output alone, and raise ``CapivaraError`` with a hint.
``capivara_cli/__init__.py`` hands on its names.
"""
