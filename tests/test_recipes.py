import dataclasses

import pytest

from flags import parsing
from simclr_tf import recipes
from simclr_tf.config import RunConfig
from simclr_tf.errors import InputError


def test_setting_names_are_unique_over_all_dataclasses():
    flat = recipes.flatten(RunConfig(model_dir="x"))
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
    run = recipes.build_run_config(
        {"model_dir": "x", "temperature": 0.5, "resnet_depth": 18, "image_size": 32, "seed": 7}
    )
    assert (run.objective.temperature, run.model.encoder.resnet_depth) == (0.5, 18)
    assert recipes.build_run_config(recipes.flatten(run)) == run


def test_unknown_setting_is_refused():
    with pytest.raises(InputError, match="temprature is not a setting"):
        recipes.build_run_config({"model_dir": "x", "temprature": 1})


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(InputError, match="quickstart"):
        recipes.recipe_lines("nothing")


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_every_recipe_reads_the_same_from_library_and_command_line(name):
    changes = {"model_dir": "x"}
    by_library = recipes.recipe(name, **changes)
    by_flags = parsing.parse_command_line([f"--recipe={name}", "--model_dir=x"]).config
    assert by_library == by_flags


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_every_recipe_says_what_to_expect(name):
    path = next(f for f in (p / f"{name}.flags" for p in recipes._FOLDERS) if f.is_file())
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(header)
    assert f"--recipe={name}" in text or name == "quickstart"
    assert "Accuracy:" in text and "Steps:" in text
    assert "%" in text or "not measured here" in text.lower()


def test_changes_win_over_the_recipe():
    run = recipes.recipe("imagenet_r50", train_steps=3, temperature=0.2)
    assert (run.train.train_steps, run.objective.temperature) == (3, 0.2)
    assert run.train.train_batch_size == 4096
