import numpy as np
import pytest

from simclr_tf.exploration import clusters


def test_far_kinds_are_clusters(planted):
    rows = clusters.reduced(planted.units[:240])
    found = clusters.cluster(rows, 6)
    pairs = set(zip(found.tolist(), planted.kind[:240].tolist(), strict=True))
    assert len(pairs) == 6 and set(found.tolist()) == set(range(6))


def test_of_many_rows_a_part_is_fitted(planted, monkeypatch):
    monkeypatch.setattr(clusters, "MOST_TO_FIT", 60)
    monkeypatch.setattr(clusters, "_ROWS_AT_ONCE", 50)
    rows = clusters.reduced(planted.units[:240])
    assert rows.shape == (240, 16)
    found = clusters.cluster(rows, 6)
    assert len(set(zip(found.tolist(), planted.kind[:240].tolist(), strict=True))) == 6


def test_reduced_rows_keep_distances(planted):
    rows = clusters.reduced(planted.units)
    for row in (1, 50, 200):
        kept = np.linalg.norm(rows[0] - rows[row])
        assert kept == pytest.approx(
            np.linalg.norm(planted.units[0] - planted.units[row]), rel=0.01
        )


def test_more_clusters_than_distinct_rows():
    rows = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    assert sorted(set(clusters.cluster(rows, 6).tolist())) == [0, 1, 2]


def test_some():
    assert clusters.some(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    assert len(set(clusters.some(1000, 10, 0).tolist())) == 10
