"""Views by other policies than the paper's: what each branch sees."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from simclr_tf.augment import composed, policy, seeds
from simclr_tf.settings.augment import TRANSFORMS, AugmentConfig

SIZE = 20
SEEDS = tf.stack([seeds.example_seed(3, 1, 12, view) for view in range(2)])


def _views(image, config: AugmentConfig, all_seeds=SEEDS, **options) -> list[np.ndarray]:
    make = composed.views_of_image(SIZE, config, **options)
    return [view.numpy() for view in make(tf.constant(image), all_seeds)]


def test_the_papers_policy_is_that_of_policy(random_image):
    image, config = random_image(24, 28), AugmentConfig()
    for view, seed in zip(_views(image, config), tf.unstack(SEEDS), strict=True):
        np.testing.assert_array_equal(view, policy.pretrain_view(image, seed, SIZE, config))


def test_without_distortion_views_are_crops(random_image):
    image, config = random_image(24, 28), AugmentConfig(augmentation="autoaugment")
    for view, seed in zip(_views(image, config, distorted=False), tf.unstack(SEEDS), strict=True):
        np.testing.assert_array_equal(view, policy.finetune_view(image, seed, SIZE))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_one_branch_is_the_crop_that_the_other_transforms(name, random_image):
    """Whatever is on the first branch, the second is the same crop of the image."""
    image = random_image(40, 40)
    settings = {"augmentation": "one_branch", "crop_area_min": 0.5}
    plain = _views(image, AugmentConfig(**settings))
    np.testing.assert_array_equal(plain[0], plain[1])
    changed = 0
    for draw in range(16):
        drawn = tf.stack([seeds.example_seed(3, draw, 12, view) for view in range(2)])
        config = AugmentConfig(transforms=name, **settings)
        first, second = _views(image, config, drawn)
        np.testing.assert_array_equal(second, _views(image, AugmentConfig(**settings), drawn)[1])
        assert first.shape == (SIZE, SIZE, 3) and first.min() >= 0 and first.max() <= 1
        changed += not np.array_equal(first, second)
    assert changed >= 2  # blur has probability 0.5 and rotation may turn by nothing


def test_the_order_of_a_composition_counts():
    """Sobel of a cut-out image shows the square's edges; a cut-out Sobel image does not."""
    image = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    edges = {}
    for names in ("cutout,sobel", "sobel,cutout"):
        config = AugmentConfig(augmentation="one_branch", transforms=names)
        edges[names] = _views(image, config)[0].max()
    assert edges["cutout,sobel"] > 0.3 and edges["sobel,cutout"] < 1e-3


def test_the_broader_policy_adds_each_transformation_a_fifth_of_the_time():
    """Of what is left of the policy here, only solarizing changes a white image."""
    white = np.ones((24, 24, 3), np.float32)
    config = AugmentConfig(transforms="rotate,solarize", use_blur=False, color_jitter_strength=0)
    black = 0
    for draw in range(150):
        drawn = tf.stack([seeds.example_seed(0, draw, 5, view) for view in range(2)])
        black += sum(view.max() < 1e-5 for view in _views(white, config, drawn))
    assert scipy.stats.binomtest(black, 300, composed.ADDED_PROBABILITY).pvalue > 1e-3


def _draw(draw: int) -> tf.Tensor:
    return seeds.example_seed(0, draw, 5, tf.range(1))


def _independent(one, other) -> bool:
    """What is one and the same number correlates by 0.9 and more."""
    return abs(np.corrcoef(one, other)[0, 1]) < 0.6


@pytest.mark.parametrize("augmentation", ["one_branch", "simclr"])
def test_each_transformation_draws_for_itself(augmentation, monkeypatch):
    """The row of the hole says nothing of the turns that follow."""
    monkeypatch.setattr(composed, "ADDED_PROBABILITY", 1.0)
    image = np.broadcast_to(np.linspace(0.5, 1, SIZE, dtype=np.float32)[:, None, None],
                            (SIZE, SIZE, 3))  # fmt: skip
    config = AugmentConfig(augmentation=augmentation, transforms="cutout,rotate", use_blur=False,
                           crop_area_min=1.0, color_jitter_strength=0)  # fmt: skip
    turns, rows = [], []
    for draw in range(12):
        view = _views(image, config, _draw(draw))[0]
        back = [np.rot90(view, -turn) for turn in range(4)]
        turns += [k for k in range(4) if np.allclose(back[k], np.where(back[k] > 0, image, 0))]
        rows.append(np.argwhere(back[turns[-1]] == 0)[:, 0].mean())
    assert len(turns) == 12 and len(set(turns)) >= 3
    assert _independent(turns, rows)


def test_what_is_added_depends_neither_on_the_crop_nor_on_what_else_is_added():
    """A wide and dark ramp in red tells crop and turn; solarizing turns full green to none."""
    image = np.zeros((40, 40, 3), np.float32)
    image[..., 0], image[..., 1] = np.linspace(0, 0.4, 40), 1.0
    config = AugmentConfig(transforms="solarize,rotate", use_blur=False, color_jitter_strength=0)
    views = np.array([_views(image, config, _draw(draw))[0] for draw in range(12, 34)])
    solarized = views[..., 1].max((1, 2)) < 0.5
    widths = np.ptp(views[..., 0], axis=(1, 2)) / 0.4
    turned = np.ptp(views[..., 0], axis=1).max(1) > np.ptp(views[..., 0], axis=2).max(1)
    assert widths[solarized].max() > 0.7 and widths[~solarized].min() < 0.5
    assert (turned & ~solarized).any() and (solarized & ~turned).any()


def test_autoaugments_pair_does_not_depend_on_the_crop(monkeypatch):
    image = np.zeros((40, 40, 3), np.float32)
    image[..., 0] = np.linspace(0, 1, 40)

    def show_pair(view, draws):
        return tf.concat([view[..., :2], tf.fill((SIZE, SIZE, 1), draws[0])], -1)

    monkeypatch.setattr(composed.autoaugment, "autoaugment", show_pair)
    config = AugmentConfig(augmentation="autoaugment")
    views = np.array([_views(image, config, _draw(draw))[0] for draw in range(16)])
    widths = np.ptp(views[..., 0], axis=(1, 2))
    assert widths.max() > widths.min() + 0.3
    assert _independent(widths, views[:, 0, 0, 2])


def test_autoaugment_crops_first(random_image):
    config = AugmentConfig(augmentation="autoaugment")
    first, second = _views(random_image(40, 30), config)
    assert first.shape == second.shape == (SIZE, SIZE, 3)
    assert not np.array_equal(first, second)
    assert min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"augmentation": "one_branch", "transforms": "crop,color"},
        {"augmentation": "autoaugment"},
        {"transforms": "sobel,equalize,solarize,motion_blur"},
    ],
)
def test_the_same_in_a_dataset(settings, random_image):
    image, config = random_image(24, 28), AugmentConfig(**settings)
    make = composed.views_of_image(SIZE, config)
    dataset = tf.data.Dataset.from_tensors(image).map(lambda one: tuple(make(one, SEEDS)))
    (inside,) = dataset.as_numpy_iterator()
    for view, expected in zip(inside, _views(image, config), strict=True):
        np.testing.assert_allclose(view, expected, atol=2e-6)
