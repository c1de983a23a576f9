"""Scores of an encoder: features, weighted kNN, linear probes, result files."""
