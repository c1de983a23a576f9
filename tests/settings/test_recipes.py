import pytest

from simclr_tf.errors import InputError
from simclr_tf.flags import parsing
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
    lines = recipes.recipe_text(name).splitlines()
    header = [line for line in lines if line.startswith("#")]
    text = "\n".join(header)
    assert f"--recipe={name}" in text or name == "quickstart"
    assert "Accuracy:" in text and "Steps:" in text
    assert "%" in text or "not measured here" in text.lower()


def test_changes_win_over_the_recipe():
    run = recipes.recipe("imagenet_r50", train_steps=3, temperature=0.2)
    assert (run.train.train_steps, run.objective.temperature) == (3, 0.2)
    assert run.train.train_batch_size == 4096


def test_a_file_is_a_recipe_too(tmp_path):
    path = tmp_path / "mine.flags"
    path.write_text("\ufeff# Mine\n\n--dataset=digits\n  --use_blur=False\n--train_steps=7\n")
    run = recipes.recipe(str(path), temperature=0.3)
    assert (run.data.dataset, run.train.train_steps, run.augment.use_blur) == ("digits", 7, False)
    assert run.model_dir == "runs/mine" and run.objective.temperature == 0.3
    command = parsing.parse_command_line([f"--recipe={path}", "--train_steps=8"])
    assert command.config.train.train_steps == 8
    assert command.config.model_dir.startswith("runs/mine-")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"train_steps=3", "must have lines of the form --name=value"),
        (b"--train_steps", "must have lines of the form --name=value"),
        (b"--train_stesp=3", "must name settings .did you mean train_steps"),
        (b"--mode=train", "the mode stands on the command line"),
        (b"# nothing\n", "must set something"),
        (b"--train_steps=many", "must give --train_steps a value of its type"),
        (b"--use_blur=maybe", "must give --use_blur a value of its type"),
        (b"\xff\xfe", "must be a readable text in UTF-8"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, content, text):
    path = tmp_path / "mine.flags"
    path.write_bytes(content)
    with pytest.raises(InputError, match=text) as caught:
        recipes.recipe_lines(str(path))
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there():
    for name in ("./mine.flags", "~nobody/x.flags", f"{'a' * 300}.flags", "a\0b.flags"):
        with pytest.raises(InputError, match="must be a file that exists, or one of .*quickstart"):
            recipes.recipe_lines(name)


def test_a_file_whose_name_is_no_path(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text("--train_steps=3")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="must have a / in it, or end in .flags"):
        recipes.recipe_lines("mine.yaml")
    assert recipes.recipe_lines("./mine.yaml") == ["--train_steps=3"]


def test_a_recipe_of_ones_own_needs_a_data_set(tmp_path):
    path = tmp_path / "mine.flags"
    path.write_text("--train_steps=3")
    with pytest.raises(InputError, match="dataset must be given, here or in the recipe"):
        parsing.parse_command_line([f"--recipe={path}"])
    assert parsing.parse_command_line([f"--recipe={path}", "--dataset=digits"]).flags["seed"] == 0
