"""What a run keeps comes back."""

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.report import kept

from .conftest import made_up_examples


def test_examples(tmp_path):
    written = made_up_examples()
    written.write(str(tmp_path))
    read = kept.read_examples(str(tmp_path))
    assert read.step == 60
    np.testing.assert_array_equal(read.images, written.images)
    np.testing.assert_array_equal(read.predicted, written.predicted)
    np.testing.assert_allclose(read.now, written.now, atol=1e-3)  # half precision


def test_views(tmp_path):
    views = np.zeros((2, 3, 4, 4, 3), np.uint8)
    operations = [[["a", "b"], [], ["c × 2"]], [[], [], []]]
    kept.ViewSamples(views[0], views, operations, 7).write(str(tmp_path))
    read = kept.read_views(str(tmp_path))
    assert read.operations == operations and read.epoch == 7


def test_predictions(tmp_path):
    labels = np.arange(5)
    kept.Predictions(labels, {"eval/x_accuracy": labels[::-1]}, 3).write(str(tmp_path))
    read = kept.read_predictions(str(tmp_path))
    assert read.step == 3 and list(read.classes) == ["eval/x_accuracy"]
    np.testing.assert_array_equal(read.classes["eval/x_accuracy"], labels[::-1])


def test_parts_that_do_not_fit_are_refused(tmp_path):
    made_up_examples()._replace(labels=np.zeros(3, int)).write(str(tmp_path))
    with pytest.raises(InputError, match="labels must have 30 rows"):
        kept.read_examples(str(tmp_path))
    whole = made_up_examples()
    for changed, said in (
        ({"points": whole.points[:, :1]}, "points must have two columns"),
        ({"points": whole.points * 1j}, "points must be rows of real numbers"),
        ({"points": whole.points * 1e300}, "points must be finite and below"),
        ({"images": whole.images / 255}, "images must be uint8"),
        ({"images": whole.images[..., 0]}, "images must be uint8"),
    ):
        whole._replace(**changed).write(str(tmp_path))
        with pytest.raises(InputError, match=said):
            kept.read_examples(str(tmp_path))
    flat = np.zeros((2, 3, 4), np.uint8)
    kept.ViewSamples(flat[0], flat, [[[]] * 3] * 2, 0).write(str(tmp_path / "flat"))
    with pytest.raises(InputError, match="originals must be uint8"):
        kept.read_views(str(tmp_path / "flat"))
    kept.Predictions(np.arange(5), {"a": np.arange(4)}, 3).write(str(tmp_path))
    with pytest.raises(InputError, match="a must have shape"):
        kept.read_predictions(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        kept.read_views(str(tmp_path))


def test_no_classes():
    assert kept.no_classes(3).tolist() == [-1, -1, -1]
