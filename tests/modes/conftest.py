"""A run of three steps on the embedded digits, and an export that only takes notes."""

import pytest

from simclr_tf.settings import by_name


def build_settings(folder, **changes):
    """A run of three steps."""
    return by_name.build_run_config(
        {
            "model_dir": str(folder), "dataset": "digits", "image_size": 8,
            "eval_split": "test", "resnet_depth": 18, "width_multiplier": 1 / 16,
            "train_batch_size": 32, "train_steps": 3, "checkpoint_steps": 1,
            "warmup_epochs": 0, "use_blur": False, "color_jitter_strength": 0,
            "knn_bank_size": 200, "eval_steps": 1,
            "keep_checkpoint_max": 10, "report": False, **changes,
        }
    )  # fmt: skip


@pytest.fixture
def settings():
    """`settings(folder, **changes)`: a run of three steps."""
    return build_settings


@pytest.fixture(scope="module")
def module_settings():
    """The same, for fixtures that serve a whole file."""
    return build_settings


class FakeExport:
    """Notes what it is asked for."""

    def __init__(self):
        self.written, self.described = [], []

    def write(self, model, global_step, class_names):
        assert len(class_names) == 10
        self.written.append(global_step)
        return f"exported {global_step}"

    def describe(self, global_step, dataset, split):
        self.described.append((global_step, dataset, split))


@pytest.fixture
def fake_export():
    return FakeExport()


@pytest.fixture
def quiet():
    return lambda text: None
