"""The calls of `import simclr_tf`: what `run.py` does, on objects instead of names."""
