import pytest

from simclr_tf.errors import InputError
from simclr_tf.protocols import finetune


@pytest.mark.parametrize(
    ("steps_per_epoch", "expected"),
    [(1, 0.9), (100, 0.9), (200, 0.95), (1000, 0.99), (0, 0.9)],
)
def test_batch_norm_decay_of_the_paper(steps_per_epoch, expected):
    assert finetune.batch_norm_decay(steps_per_epoch) == pytest.approx(expected)


@pytest.fixture
def recorded(monkeypatch):
    """Trainings are noted instead of run; larger learning rates score better up to 0.1."""
    calls = []

    def train(context, train_split, test_split, rate, decay):
        calls.append((train_split, test_split, rate, decay))
        good = {0.01: 0.5, 0.1: 0.8, 1.0: 0.3}[rate] - decay
        return type("Score", (), {
            "top_1": good, "mean_per_class": good, "metrics": lambda self: {"top_1": good},
            "labels": None, "logits": None,
        })()  # fmt: skip

    monkeypatch.setattr(finetune, "_train", train)
    monkeypatch.setattr("simclr_tf.protocols.context.Context.write_predictions", lambda *_: None)
    return calls


def test_the_grid_is_chosen_on_validation_images_and_trained_again(make_context, network, recorded):
    context = make_context(
        network, finetune_learning_rates="0.01,0.1,1.0", finetune_weight_decays="0,0.1"
    )
    section = finetune.run(context)
    *cells, last = recorded
    assert len(cells) == 6
    assert {call[:2] for call in cells} == {("train[0:270]", "train[270:300]")}
    assert last == ("train[:300]", "test[:100]", 0.1, 0.0)
    assert section.metrics["learning_rate"] == 0.1
    assert len(section.metrics["grid"]) == 6


def test_one_cell_is_trained_once(make_context, network, recorded):
    finetune.run(make_context(network, finetune_learning_rates="0.01", finetune_weight_decays="0"))
    assert recorded == [("train[:300]", "test[:100]", 0.01, 0.0)]


def test_the_decay_is_divided_by_the_learning_rate(make_context, network, monkeypatch):
    plans = []
    monkeypatch.setattr(finetune, "fit", lambda *args: plans.append(args[3]))
    monkeypatch.setattr(finetune, "score", lambda *args: None)
    context = make_context(network, finetune_steps=3, finetune_batch_size=32)
    finetune._train(context, "train[:300]", "test[:100]", 0.05, 1e-3)
    (plan,) = plans
    assert plan.optimizer.weight_decay == pytest.approx(1e-3 / 0.05)
    assert plan.optimizer.peak_learning_rate(32) == pytest.approx(0.05)
    assert plan.steps == 3


def test_a_cell_that_diverges_scores_nothing(make_context, network, recorded, monkeypatch):
    train = finetune._train

    def sometimes(context, train_split, test_split, rate, decay):
        if rate == 1.0:
            raise finetune.NonFiniteLossError("loss must stay finite. Received: nan")
        return train(context, train_split, test_split, rate, decay)

    monkeypatch.setattr(finetune, "_train", sometimes)
    said = []
    context = make_context(network, finetune_learning_rates="1.0,0.01", say=said.append,
                           finetune_weight_decays="0")  # fmt: skip
    section = finetune.run(context)
    assert section.metrics["learning_rate"] == 0.01
    assert [cell["validation"] for cell in section.metrics["grid"]] == [0.0, 0.5]
    assert "learning rate 1" in said[0]
    worse = make_context(network, finetune_learning_rates="1.0", finetune_weight_decays="0,1e-3")
    with pytest.raises(InputError, match="finetune_learning_rates must hold one"):
        finetune.run(worse)


def test_with_validation_images_of_ones_own_the_last_training_sees_them(
    make_context, network, recorded
):
    context = make_context(
        network, validation_split="train[300:350]", finetune_learning_rates="0.01,0.1",
        finetune_weight_decays="0",
    )  # fmt: skip
    finetune.run(context)
    assert recorded[0][:2] == ("train[:300]", "train[300:350]")
    assert recorded[-1][:2] == ("train[:300]+train[300:350]", "test[:100]")
