"""TensorFlow Addons: it loads and computes, or says why not."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import addons
from simclr_tf.augment import autoaugment, studied
from simclr_tf.objectives.pairwise import margin_triplet

needs_addons = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="tensorflow-addons has no wheels for Python 3.12 and later"
)
PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
from simclr_tf import addons
tfa = addons.load()
assert addons.missing() is None
given = np.load(sys.argv[1])
both, image = tf.math.l2_normalize(given["views"], axis=1), given["image"]
labels = np.tile(np.arange(len(both) // 2), 2)
np.savez(
    sys.argv[2],
    rotated=tfa.image.rotate(tf.eye(4)[..., tf.newaxis], np.pi / 2)[..., 0],
    triplets=[tfa.losses.triplet_semihard_loss(
        labels, both, margin=2 * margin, distance_metric="squared-L2"
    ) for margin in (0.1, 0.4, 1.6)],
    equalize=tfa.image.equalize(tf.constant(image)),
    cutout=tfa.image.cutout(tf.constant(image[np.newaxis]), (8, 8), offset=(7, 9))[0],
    sharpness=tfa.image.sharpness(tf.constant(image), 1.7),
    rotate=tfa.image.rotate(image, 30 * 8 / 9 * np.pi / 180, fill_value=128.0),
)
"""


def _run(
    program: str, legacy: str, *arguments: os.PathLike[str]
) -> subprocess.CompletedProcess[str]:
    """A process of its own: what `tf.keras` is, is decided once."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": legacy}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def anew():
    addons._load.cache_clear()
    yield
    addons._load.cache_clear()


@needs_addons
def test_it_loads_and_its_triplets_and_image_operations_are_ours(tmp_path):
    """Squared distances of normalised embeddings are 2 - 2 cosines: its margin is twice ours."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(6, 5)).astype(np.float32) for _ in range(2))
    image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "given.npz", views=np.concatenate([a, b]), image=image)
    ran = _run(PROGRAM, "1", tmp_path / "given.npz", tmp_path / "theirs.npz")
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "UserWarning" not in ran.stderr
    theirs = np.load(tmp_path / "theirs.npz")
    np.testing.assert_allclose(theirs["rotated"], np.eye(4)[::-1], atol=1e-6)
    for margin, loss in zip((0.1, 0.4, 1.6), theirs["triplets"], strict=True):
        ours = margin_triplet(a, b, margin, semi_hard=True).loss  # both directions summed
        assert float(ours) / 2 == pytest.approx(float(loss) / 2, rel=1e-4)
        assert loss > 0
    floats = tf.constant(image / 255, tf.float32)
    operations = {
        "equalize": studied.equalize(image),
        "cutout": studied.cutout(image, [tf.constant((at + 0.5) / 16) for at in (7, 9)]),
        "sharpness": autoaugment._sharpness(floats, 7, tf.constant(1.0)),
        "rotate": autoaugment._rotate(floats, 8, tf.constant(1.0)),
    }
    for name, found in operations.items():
        difference = np.abs(np.asarray(found) - theirs[name] / 255)
        assert difference.max() < 1.5 / 255, name  # they round between two operations


def test_where_it_is_not_installed(anew, monkeypatch):
    monkeypatch.setattr(addons, "_keras_is_tf_keras", lambda: True)
    monkeypatch.setattr(addons.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(addons.AddonsError, match=r"not installed.* this is Python 3\.\d+$"):
        addons.load()
    assert "wheels" in addons.missing()


def test_where_it_fails_to_import(anew, monkeypatch):
    def fail(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(addons, "_keras_is_tf_keras", lambda: True)
    monkeypatch.setattr(addons.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(addons, "_stand_in_for_moved_module", lambda: None)
    monkeypatch.setattr(addons.importlib, "import_module", fail)
    with pytest.raises(addons.AddonsError, match="ImportError: no tensorflow_addons"):
        addons.load()


def test_with_keras_3_behind_tf_keras():
    ran = _run("from simclr_tf import addons; print(addons.missing())", "0")
    assert "set TF_USE_LEGACY_KERAS=1" in ran.stdout, ran.stderr[-2000:]
