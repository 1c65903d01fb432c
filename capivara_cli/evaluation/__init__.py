"""Evaluation of models on sets: retrieval, classification, disparity across languages, and comparisons of models."""
