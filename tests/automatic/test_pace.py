import numpy as np
import tf_keras as keras

from simclr_tf.automatic import pace
from simclr_tf.data.array_source import from_arrays
from simclr_tf.experiment import Given
from simclr_tf.settings import by_name


def test_steps_are_timed_and_leave_nothing(tmp_path, monkeypatch, eager):
    monkeypatch.setattr(pace, "_SECONDS", 0.0)
    images = keras.Input((16, 16, 3))
    encoder = keras.Model(images, keras.layers.Conv2D(8, 3, strides=2)(images), name="tiny")
    before = encoder.get_weights()
    run = by_name.build_run_config({
        "model_dir": str(tmp_path / "run"), "dataset": "arrays", "image_size": 16,
        "encoder": "keras:tiny", "train_batch_size": 8, "warmup_epochs": 0.01,
        "color_jitter_strength": 0, "use_blur": False,
    })  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    found = pace.seconds_per_step(run, Given(source=from_arrays(pixels), encoder=encoder))
    assert 0 < found < 60
    for one, other in zip(encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list(tmp_path.iterdir())
