"""Weights from files: our checkpoints and exports, and every published format."""
