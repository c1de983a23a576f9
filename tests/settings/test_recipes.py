import pytest

from flags import parsing
from simclr_tf.errors import InputError
from simclr_tf.settings import recipes


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
