"""Metrics: retrieval, zero-shot classification, disparity across languages."""
