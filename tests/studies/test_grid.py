"""Cells: names for files, and runs with some settings changed."""

from __future__ import annotations

import pytest

from simclr_tf.errors import InputError
from simclr_tf.studies.grid import Cell, key_of, with_settings
from tests.studies import made_up


def test_keys_are_plain_file_names_and_differ():
    factors = [
        {"temperature": 0.1, "loss": "NT-Xent"},
        {"temperature": 0.5, "loss": "NT-Xent"},
        {"temperature": 0.1, "loss": "margin, semi-hard"},
        {"augmentation": "1/8", "method": "SimCLR"},
        {"augmentation": "1 + blur", "method": "SimCLR"},
    ]
    keys = [key_of(one) for one in factors]
    assert keys[0] == "temperature-0.1.loss-NT-Xent"
    assert keys[2] == "temperature-0.1.loss-margin_semi-hard"
    assert len(set(keys)) == len(keys)
    assert not any(set(key) & set("/\\: ,") for key in keys)
    assert Cell(factors[0], {}).key == keys[0]


def test_settings_of_any_part_can_change():
    base = made_up.base()
    run = with_settings(base, {"temperature": 0.7, "train_batch_size": 32, "model_dir": "b"})
    assert (run.objective.temperature, run.train.train_batch_size, run.model_dir) == (0.7, 32, "b")
    assert run.augment == base.augment and run.data == base.data
    with pytest.raises(InputError, match="temperature"):
        with_settings(base, {"temperature": 0.0})
    with pytest.raises(InputError, match="warmth"):
        with_settings(base, {"warmth": 0.0})
