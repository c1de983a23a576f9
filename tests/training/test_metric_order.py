from simclr_tf.evaluation.quality import Quality
from simclr_tf.training.metric_order import QUALITY_METRICS, low_is_good


def test_losses_are_good_when_low_and_what_is_found_when_high():
    assert low_is_good("train/contrast_loss") and low_is_good("train/contrast_entropy")
    assert not any(map(low_is_good, QUALITY_METRICS))


def test_the_figures_are_measured():
    for name in QUALITY_METRICS:
        of, _, figure = name.removeprefix("quality/").partition("_")
        assert of in ("h", "z") and figure in Quality._fields
