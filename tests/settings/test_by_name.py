import dataclasses

import pytest

from simclr_tf.config import RunConfig
from simclr_tf.errors import InputError
from simclr_tf.settings import by_name


def test_setting_names_are_unique_over_all_dataclasses():
    flat = by_name.flatten(RunConfig(model_dir="x"))
    names = []

    def collect(value):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if dataclasses.is_dataclass(inner):
                collect(inner)
            else:
                names.append(field.name)

    collect(RunConfig(model_dir="x"))
    assert len(names) == len(set(names)) == len(flat)


def test_flatten_and_build_are_inverse():
    run = by_name.build_run_config(
        {"model_dir": "x", "temperature": 0.5, "resnet_depth": 18, "image_size": 32, "seed": 7}
    )
    assert (run.objective.temperature, run.model.encoder.resnet_depth) == (0.5, 18)
    assert by_name.build_run_config(by_name.flatten(run)) == run


def test_unknown_setting_is_refused():
    with pytest.raises(InputError, match="temprature is not a setting"):
        by_name.build_run_config({"model_dir": "x", "temprature": 1})
