import json
import pathlib

import pytest

from simclr_tf.data import sources, subset
from simclr_tf.protocols import semi_supervised
from simclr_tf.protocols.fitting import Score


@pytest.fixture
def trained(monkeypatch):
    """What would have been trained: (images, steps, batch, peak rate, pretrained)."""
    calls = []

    def fit(context, model, images, plan, label):
        peak = plan.optimizer.peak_learning_rate(plan.batch_size)
        calls.append((images.num_images, plan.steps, plan.batch_size, peak, model))

    import numpy as np

    nothing = Score(0.5, 0.9, 0.5, np.zeros((4, 10)), np.zeros(4, np.int64))
    monkeypatch.setattr(semi_supervised, "fit", fit)
    monkeypatch.setattr(semi_supervised, "score", lambda *args: nothing)
    monkeypatch.setattr(semi_supervised, "build_classifier", lambda context, pretrained: pretrained)
    return calls


def test_schedules_of_the_paper_on_balanced_subsets(make_context, network, trained):
    context = make_context(
        network, train_split="train", label_fractions="2_per_class,10%", label_epochs="60,30",
        label_batch_size=32,
    )  # fmt: skip
    section = semi_supervised.run(context)
    ten_percent = 10 * round(0.1 * context.source.num_examples("train") / 10)
    assert [call[0] for call in trained] == [20, 20, ten_percent, ten_percent]
    few, few_scratch, many, many_scratch = trained
    assert few[1:] == (60, 20, pytest.approx(0.05 * 20 / 256), True)
    assert few_scratch[1:] == (120, 20, pytest.approx(0.5 * 20 / 256), False)
    assert many[1:3] == (30 * (ten_percent // 32), 32)
    assert many_scratch[1] == 2 * many[1]
    assert section.metrics["10%"]["images"] == ten_percent
    assert [row.what for row in section.rows[:2]] == [
        "2_per_class labels, fine-tuned", "2_per_class labels, from scratch"
    ]  # fmt: skip
    json.dumps(section.metrics)


def test_the_subset_is_written_and_can_be_given_back(make_context, network, trained, tmp_path):
    context = make_context(network, label_fractions="3_per_class", label_epochs="1")
    semi_supervised.run(context)
    file = pathlib.Path(context.path("subset_3_per_class.json"))
    ids = json.loads(file.read_text())["ids"]
    assert len(ids) == 30
    again = subset.open_subset(context.source, "train[:300]", str(file), seed=99)
    assert sorted(again.ids) == sorted(ids)
    data = sources.DataConfig(dataset="digits", image_size=8)
    fresh = subset.open_subset(sources.open_source(data), "train[:300]", "3_per_class", seed=0)
    assert sorted(fresh.ids) == sorted(ids), "the choice depends on the seed alone"


@pytest.mark.parametrize(
    ("rule", "name"), [("1%", "1pct"), ("0.5%", "0.5pct"), ("a/b.json", "a_b.json")]
)
def test_file_names(rule, name):
    assert semi_supervised.file_name(rule) == name
