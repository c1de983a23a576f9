"""LARS, the learning rate schedule, and the choice of an optimizer from the settings."""
