"""Hostile command lines and files for every program here: `python -m fuzz --help`."""
