"""The names of `simclr_tf.views`."""

from __future__ import annotations

from simclr_tf import views
from simclr_tf.settings.operations import OPERATIONS


def test_all_operations_are_there():
    assert {name: getattr(views, name) for name in OPERATIONS} == OPERATIONS
    assert set(views.__all__) >= set(OPERATIONS)
    assert all(hasattr(views, name) for name in views.__all__)


def test_a_list_has_the_text_that_is_read_as_it():
    steps = [*views.paper(0.5, blur=False), views.rot90()]
    found = views.Views(steps)
    assert found.text == "crop flip color(0.5) grayscale rot90"
    assert views.parse_views(found.text) == found
    assert views.as_policy(found) is None
    assert views.as_policy(views.Views(steps[:-1])).color_jitter_strength == 0.5
