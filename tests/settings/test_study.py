"""Settings of a study: budgets as people write them."""

from __future__ import annotations

import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings.study import StudyConfig


@pytest.mark.parametrize(
    ("text", "steps", "minutes"),
    [
        (None, None, None),
        ("200", 200, None),
        ("200steps", 200, None),
        ("1 step", 1, None),
        ("3min", None, 3.0),
        ("0.5 min", None, 0.5),
    ],
)
def test_budgets(text, steps, minutes):
    config = StudyConfig("losses", study_budget=text)
    assert (config.budget_steps, config.budget_minutes) == (steps, minutes)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"study": "rotation"}, "study"),
        ({"study_budget": "0"}, "study_budget"),
        ({"study_budget": "0min"}, "study_budget"),
        ({"study_budget": "-3"}, "study_budget"),
        ({"study_budget": "soon"}, "study_budget"),
        ({"study_budget": ""}, "study_budget"),
        ({"study_seeds": 0}, "study_seeds"),
        ({"study_grid": "large"}, "study_grid"),
    ],
)
def test_bad_values_are_refused_by_name(settings, name):
    with pytest.raises(InputError) as caught:
        StudyConfig(**{"study": "losses", **settings})
    assert caught.value.name == name
