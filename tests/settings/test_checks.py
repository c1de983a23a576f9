import contextlib
import dataclasses
import math
import pathlib

import pytest

from simclr_tf import config
from simclr_tf.errors import InputError
from simclr_tf.settings import by_name
from simclr_tf.settings.checks import MOST_VALUES, limits_of

# Not the commands that consist of others.
NESTING = (config.RunConfig, config.Evaluate, config.Embed, config.Study, config.Serve)
CLASSES = [
    one
    for one in vars(config).values()
    if isinstance(one, type) and dataclasses.is_dataclass(one) and one not in NESTING
]
REQUIRED = {config.Neighbors: {"embeddings": "x.npz"}, config.Explore: {"embeddings": "x.npz"},
            config.StudyConfig: {"study": "losses"}}  # fmt: skip
SETTINGS = {
    name: (config_class, hint)
    for config_class in CLASSES
    for name, hint, _ in by_name.setting_fields(config_class)
}
NUMBERS = [
    name for name, (_, hint) in SETTINGS.items() if hint in (int, float, int | None, float | None)
]
LIMITS = {
    name: limits
    for name, (config_class, _) in SETTINGS.items()
    if (limits := limits_of(config_class, name)) is not None
}
LISTS = [name for name in LIMITS if name not in NUMBERS]
EXTREME = [math.nan, math.inf, -math.inf, -1, 0, 1, 1e308, -1e308, 5e-324, 10**400, 2**31, 2**63,
           "", "x", b"1", None, [], {}, 1j, True]  # fmt: skip


def _refusal(name, value):
    """The error of a setting's value, None where it is taken."""
    config_class = SETTINGS[name][0]
    try:
        config_class(**{**REQUIRED.get(config_class, {}), name: value})
    except InputError as error:
        message = str(error)
        assert error.name == name and "\n" not in message and message.startswith(f"{name} ")
        return message
    return None


def test_every_number_has_limits():
    assert set(NUMBERS) <= set(LIMITS) and len(NUMBERS) > 40
    assert all(SETTINGS[name][1] is str for name in LISTS) and len(LISTS) == 5


@pytest.mark.parametrize("name", NUMBERS)
def test_extreme_numbers_are_refused_by_name_or_within_limits(name):
    for value in EXTREME:
        taken = _refusal(name, value) is None
        if type(value) in (int, float):
            assert not taken or LIMITS[name].low <= value <= LIMITS[name].high
        else:
            assert not taken or value is None
    assert _refusal(name, LIMITS[name].high + 1) is not None
    assert _refusal(name, LIMITS[name].low - 1) is not None


@pytest.mark.parametrize("name", LISTS)
def test_extreme_numbers_in_lists_are_refused_by_name(name):
    for text in ("nan", "inf", "-1", "1e308", "1" + "0" * 400, "9" * 5000, "999999999999", "", ",",
                 "x", "1;2", ",".join(map(str, range(1, MOST_VALUES + 2)))):  # fmt: skip
        assert _refusal(name, text) is not None


@pytest.mark.parametrize("name", [name for name, (_, hint) in SETTINGS.items() if hint is str])
def test_texts_are_texts(name):
    if name in LISTS:
        return
    for value in (5, None, ["a"], {}, b"a"):
        assert _refusal(name, value) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_norm_decay", 0.0),
        ("batch_norm_decay", 1.0),
        ("batch_norm_decay", 1 - 1e-9),
        ("weight_decay", 2e9),
        ("color_jitter_strength", 2e9),
        ("temperature", 1e308),
        ("temperature", 1e-300),
        ("knn_neighbors", "999999999999"),
        ("learning_rate", 1e30),
        ("train_epochs", 2**31 - 1),
        ("width_multiplier", 1e5),
        ("eval_batch_size", 2147483647),
        ("num_proj_layers", 100_000_000),
        ("num_logical_cpus", 1_000_000),
        ("image_size", 100_000),
    ],
)
def test_values_that_mean_nothing_are_refused(name, value):
    assert "at most" in _refusal(name, value)


# From the paper: sections and tables in brackets.
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [0.05, 0.1, 0.5, 1, 10]),  # Tables 5 and B.7
        ("train_batch_size", [256, 512, 1024, 2048, 4096, 8192]),  # Figure 9
        ("train_epochs", [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 3200]),
        ("width_multiplier", [0.0625, 0.5, 1, 2, 3, 4]),  # Table 1, SimCLRv2
        ("proj_out_dim", [32, 64, 128, 256, 512, 1024, 2048]),  # Figure 8
        ("color_jitter_strength", [0, 0.125, 0.25, 0.5, 1, 2]),  # Table 1
        ("weight_decay", [0, 1e-6, 1e-4]),  # 2.2, B.6
        ("batch_norm_decay", [0.9, 0.997, 0.999]),
        ("learning_rate", [0.05, 0.1, 0.2, 0.3, 1.0, 1.6, 4.8]),  # B.1, B.5, B.6
        ("momentum", [0, 0.9]),
        ("margin", [0, 0.2, 0.4, 0.8, 1.0]),  # Table 4
    ],
)  # fmt: skip
def test_the_papers_values_are_taken(name, values):
    assert [_refusal(name, value) for value in values] == [None] * len(values)


def test_numbers_of_other_libraries_are_numbers():
    import numpy as np

    assert config.TrainConfig(train_batch_size=np.int64(8)).train_batch_size == 8
    assert config.ObjectiveConfig(temperature=np.float32(0.5)).temperature == 0.5
    assert config.DataConfig(data_dir=pathlib.Path("x")).data_dir == pathlib.Path("x")
    with contextlib.suppress(InputError):
        config.ProtocolConfig(label_epochs=60)  # one number stands for a list of one
