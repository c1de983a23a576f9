"""Vectors in which anybody can tell what is to be found."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_tf.retrieval.embeddings import Embeddings


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Planted:
    """240 images of 6 kinds far apart; three copies of image 0, and image 7 like nothing else.

    Attributes:
        vectors: (244, 16) float32.
        kind: (244,) which of the kinds an image is of.
    """

    def __init__(self):
        rng = np.random.default_rng(0)
        kinds = np.eye(6, 16) * 4
        self.kind = np.repeat(np.arange(6), [60, 50, 40, 40, 30, 20])
        self.vectors = (kinds[self.kind] + rng.normal(0, 0.45, (240, 16))).astype(np.float32)
        copies = self.vectors[[0, 0, 0]] + rng.normal(0, 1e-4, (3, 16)).astype(np.float32)
        other = np.eye(16)[[15]] * 4
        self.vectors = np.concatenate([self.vectors, copies, other]).astype(np.float32)
        self.kind = np.concatenate([self.kind, [0, 0, 0, -1]])
        self.copies, self.outlier = [0, 240, 241, 242], 243
        self.units = unit(self.vectors - self.vectors.mean(axis=0))
        self.ids = [f"photos/{row:03}.png" for row in range(len(self.vectors))]

    def content(self, labels=None, names=None, **metadata):
        return Embeddings(self.ids, labels, names, self.vectors, metadata)


@pytest.fixture(scope="session")
def planted():
    return Planted()


@pytest.fixture(scope="session")
def noise():
    """(300, 24) float32 of length 1, without any groups."""
    return unit(np.random.default_rng(3).normal(size=(300, 24)))
