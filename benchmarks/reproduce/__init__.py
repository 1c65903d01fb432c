"""The papers in miniature: what the toy world can carry of CAPIVARA, PECTVLM and LaCLIP, run by the package's own code.

``python -m benchmarks.reproduce`` runs every cell (a way to train, with a seed) and stores each result;
``--write`` makes docs/reproduction.md from the stored results.
"""
