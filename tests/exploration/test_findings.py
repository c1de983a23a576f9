import numpy as np
import pytest

from simclr_tf.exploration import findings
from simclr_tf.exploration.graph import nearest_others
from simclr_tf.retrieval.embeddings import Embeddings
from simclr_tf.retrieval.neighbors import choose_space


def find(vectors, labels=None, **settings):
    content = Embeddings([f"{row}" for row in range(len(vectors))], labels, None, vectors, {})
    space = choose_space(vectors, "centred", None)
    return findings.find(content, space, **settings)


def test_all_of_it_is_found_together(planted):
    labels = planted.kind.copy()
    labels[[5, 200]] = 3, 1
    labels[::10] = -1
    stages = []
    found = find(planted.vectors, labels, on_stage=stages.append)
    assert found.groups.number == 6
    assert [one.indices.tolist() for one in found.duplicates] == [planted.copies]
    assert np.flatnonzero(found.duplicate_group == 0).tolist() == planted.copies
    assert found.outliers.listed[0] == planted.outlier
    assert 5 in found.suspects.listed[:2]
    assert len(found.to_label) == 24 and (labels[found.to_label] < 0).all()
    expected = nearest_others(planted.units, 20).similarities
    np.testing.assert_allclose(found.neighbors.similarities, expected, atol=1e-5)
    assert stages[0] == "nearest images" and len(stages) == 5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 60])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_few_and_equal_images(count, equal, labelled):
    vectors = np.ones((count, 70), np.float32) if equal else np.eye(count, 70, dtype=np.float32)
    found = find(vectors, np.zeros(count, np.int64) if labelled else None)
    assert found.places.shape == (count, 2) and np.isfinite(found.places).all()
    copies = [group.indices.tolist() for group in found.duplicates]
    assert copies == ([list(range(count))] if equal and count > 1 else [])
    assert (found.suspects is not None) == labelled
    assert (len(found.to_label) == 0) == labelled


def test_labels_that_are_all_absent_are_none(planted):
    assert find(planted.vectors[:50], np.full(50, -1)).suspects is None
