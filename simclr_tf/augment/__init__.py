"""Augmentations: stateless, seeded functions of one image, and the policies made of them."""
