"""Models leave as SavedModels and come in from published checkpoints."""
