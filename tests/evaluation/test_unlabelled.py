"""The figures without labels, of encoders that know one thing about an image."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import any_source, samples
from simclr_tf.data.images import Images
from simclr_tf.data.views import ImageViews, ViewRecipe
from simclr_tf.errors import InputError
from simclr_tf.evaluation import unlabelled
from simclr_tf.evaluation.features import Extractor
from simclr_tf.evaluation.unlabelled import Shown, measure
from simclr_tf.models.endpoints import FINAL_ENDPOINT, PROJECTED_ENDPOINT


def _squares(count: int = 300, seed: int = 0) -> np.ndarray:
    """Images of one colour each."""
    colors = np.random.default_rng(seed).integers(60, 256, (count, 1, 1, 3))
    return np.broadcast_to(colors, (count, 16, 16, 3)).astype(np.uint8)


def _mean_color(images: tf.Tensor) -> dict[str, tf.Tensor]:
    color = tf.reduce_mean(images, [1, 2])
    return {FINAL_ENDPOINT: color - tf.reduce_mean(color, 1, keepdims=True),
            PROJECTED_ENDPOINT: color[:, :2]}  # fmt: skip


def _measured(encode, pixels, count=300, **optional):
    source = any_source.as_source(pixels, channels=pixels.shape[-1])
    images = Images(source, image_size=16, eval_batch_size=64)
    extractor = Extractor(encode, endpoints=(FINAL_ENDPOINT,), **optional)
    return measure(extractor, Shown(images, "train", count))


def test_colours_alone_are_found_again_only_where_they_stay():
    found = _measured(_mean_color, _squares(), optional=(PROJECTED_ENDPOINT,))
    assert set(found) == {"h", "z"}
    assert found["h"].crop_retrieval > 0.9  # equal colours apart
    assert found["h"].retrieval < 0.2
    assert found["h"].effective_rank < 2.05 and found["z"].rank_share > 0.6


@pytest.mark.parametrize(("spare", "made"), [(0, 5), (-1, 10)])
def test_views_that_are_small_are_made_once(spare, made, monkeypatch):
    """Four views of the images and the images themselves, of float32."""
    starts = []

    def batches(part):
        def one():
            starts.append(part)
            yield {"image": _squares(60) / np.float32(255)}

        spec = {"image": tf.TensorSpec((60, 16, 16, 3), tf.float32)}
        return tf.data.Dataset.from_generator(one, output_signature=spec)

    monkeypatch.setattr(unlabelled, "_KEPT_BYTES", 60 * 5 * 16 * 16 * 3 * 4 + spare)
    monkeypatch.setattr(samples, "view_batches", lambda *_: [batches, batches])
    monkeypatch.setattr(samples, "example_batches", lambda *_: batches)
    images = Images(any_source.as_source(_squares(60)), image_size=16, eval_batch_size=64)
    shown = Shown(images, "train", 60)
    first, second = (measure(Extractor(_mean_color), shown) for _ in range(2))
    assert first == second
    assert len(starts) == made


def test_without_a_head_and_with_images_in_gray():
    """Of one channel there are no colours to change: both retrievals are of the same crops."""
    gray = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1)).astype(np.uint8)
    found = _measured(lambda images: tf.reshape(images, [-1, 256]), gray, count=1000)
    assert set(found) == {"h"}
    assert found["h"].retrieval == found["h"].crop_retrieval


def test_one_image_is_too_few():
    with pytest.raises(InputError, match="at least 2 images"):
        _measured(_mean_color, _squares(1))


def test_nearly_all_images_are_compared(monkeypatch):
    """Views that are the images are traced in no time; how many there are is the same."""
    plain = ImageViews(2, lambda image, _: [tf.image.convert_image_dtype(image, tf.float32)] * 2)
    monkeypatch.setattr(ViewRecipe, "maker", lambda *_, **__: plain)
    compared = {
        count: _measured(_mean_color, _squares(count), count)["h"].num_images
        for count in (300, 65, 64, 7, 130)
    }
    assert compared == {300: 300, 65: 64, 64: 64, 7: 7, 130: 129}
