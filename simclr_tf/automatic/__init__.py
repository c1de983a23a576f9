"""Recipes that follow from the images, the machine and the time: `--recipe=photos`, `auto`."""
