"""Embeddings for use: files of embeddings, nearest images, near-duplicates, and their pictures."""
