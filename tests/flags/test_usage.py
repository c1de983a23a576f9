import pathlib

import pytest

from simclr_tf.errors import InputError
from simclr_tf.flags import definitions, usage

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def test_all_flags_are_shown_under_their_areas():
    text = usage.help_text(["--help=all"])
    values = definitions.define_flags()
    shown = set()
    for name in values:
        if name in ("help", "helpshort", "helpfull", "helpxml", "?"):
            continue
        assert f"--{name}" in text
        shown.add(name)
    assert len(shown) > 60
    positions = [text.index(f"\n{area}:") for area in ("Run", *definitions.AREAS)]
    assert positions == sorted(positions)
    assert usage.help_text(["--helpfull"]) == text


@pytest.mark.parametrize("mode", definitions.MODES)
def test_a_mode_is_told_on_one_screen(mode):
    text = usage.help_text([f"--mode={mode}", "--help"])
    lines = text.splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= 100
    assert f"--mode={mode}" in text or f"[{mode}]" in text


def test_defaults_are_those_of_the_recipe_in_force():
    def default(name, *words):
        text = usage.help_text([*words, "--help"])
        line = next(line for line in text.splitlines() if line.startswith(f"  --{name} "))
        return line.partition("[")[2].rstrip("]")

    assert default("train_batch_size") == "128"
    assert default("train_batch_size", "--recipe=imagenet_r50") == "4096"
    assert default("train_batch_size", "--recipe=imagenet_r50", "--train_batch_size=8") == "8"
    assert default("train_batch_size", "--dataset=cifar10") == "512"
    assert "In brackets: what the recipe quickstart sets." in usage.help_text(["-h"])


def test_help_helps_where_other_words_are_wrong():
    assert "--dataset" in usage.help_text(["--mode=nothing", "--help"])


@pytest.mark.parametrize("area", usage._AREA_WORDS)
def test_one_area(area):
    text = usage.help_text([f"--help={area}"])
    assert max(map(len, text.splitlines())) <= 100 and "  --" in text


def test_no_such_area():
    with pytest.raises(InputError, match="did you mean data"):
        usage.help_text(["--help=daat"])


def test_lines_fit_a_terminal():
    assert max(len(line) for line in usage.help_text(["--help=all"]).splitlines()) <= 100


def test_the_version_names_tensorflow_too():
    assert usage.version_text().startswith("simclr_tf 0.1.0, TensorFlow 2.21")


def test_the_page_of_flags_is_up_to_date():
    """`make docs` writes it."""
    assert (REPOSITORY / "docs" / "flags.md").read_text() == usage.flags_page()
