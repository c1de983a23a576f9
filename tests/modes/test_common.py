"""What the modes share."""

import types

import pytest
import tensorflow as tf

from simclr_tf.modes import common

EXPERIMENT = types.SimpleNamespace(
    run=types.SimpleNamespace(data=types.SimpleNamespace(dataset="digits")),
    class_names=["a"] * 10,
    eval_split="test",
    strategy=tf.distribute.get_strategy(),
)


def test_an_export_is_written_described_and_said(fake_export):
    said = []
    common.write_export(fake_export, EXPERIMENT, None, 3, said.append)
    common.describe_export(fake_export, EXPERIMENT, 3)
    assert (fake_export.written, said) == ([3], ["SavedModel: exported 3"])
    assert fake_export.described == [(3, "digits", "test")]


def test_an_old_step_that_is_not_written_is_not_said():
    said = []
    old = types.SimpleNamespace(write=lambda *_: None)
    common.write_export(old, EXPERIMENT, None, 3, said.append)
    assert said == []


def test_none_writes_and_says_nothing():
    common.write_export(None, EXPERIMENT, None, 3, pytest.fail)
    common.describe_export(None, EXPERIMENT, 3)


def test_lines_appear_at_once(capsys):
    common.print_line("a line")
    assert capsys.readouterr().out == "a line\n"
