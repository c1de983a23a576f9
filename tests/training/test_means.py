import pytest

from simclr_tf.training.means import Means


def test_an_accuracy_weighs_as_much_as_its_images(tiny_model):
    """A batch without labels does not lower the students' accuracy of the interval."""
    means = Means(("train/supervised_acc", "train/total_loss"))
    for accuracy, count in ((1.0, 3.0), (0.0, 1.0), (0.0, 0.0)):
        values = {"train/supervised_acc": accuracy, "train/total_loss": accuracy}
        means.update(values, {"train/supervised_acc": count})
    assert means.result() == pytest.approx(
        {"train/supervised_acc": 0.75, "train/total_loss": 1 / 3}
    )
