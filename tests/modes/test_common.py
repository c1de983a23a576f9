"""What the modes share."""

import types

import pytest

from simclr_tf.job import Job
from simclr_tf.modes import common


def experiment(say):
    return types.SimpleNamespace(
        run=types.SimpleNamespace(data=types.SimpleNamespace(dataset="digits")),
        class_names=["a"] * 10,
        eval_split="test",
        job=Job(speak=say),
    )


def test_an_export_is_written_described_and_said(fake_export):
    said = []
    common.write_export(fake_export, experiment(said.append), None, 3)
    common.describe_export(fake_export, experiment(said.append), 3)
    assert (fake_export.written, said) == ([3], ["SavedModel: exported 3"])
    assert fake_export.described == [(3, "digits", "test")]


def test_an_old_step_that_is_not_written_is_not_said():
    said = []
    old = types.SimpleNamespace(write=lambda *_: None)
    common.write_export(old, experiment(said.append), None, 3)
    assert said == []


def test_none_writes_and_says_nothing():
    common.write_export(None, experiment(pytest.fail), None, 3)
    common.describe_export(None, experiment(pytest.fail), 3)
