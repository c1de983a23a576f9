import pytest

from simclr_tf.errors import InputError, require


def test_message_names_setting_constraint_and_value():
    error = InputError("temperature", "must be greater than 0", -1.0)
    assert str(error) == "temperature must be greater than 0. Received: -1.0"
    assert error.describe("--temperature").startswith("--temperature must be")


def test_require_raises_only_when_the_condition_fails():
    require(True, "x", "must hold", 1)
    with pytest.raises(InputError, match="x must hold. Received: 'a'"):
        require(False, "x", "must hold", "a")
