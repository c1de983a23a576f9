import pytest

from simclr_tf.errors import InputError, require, require_valid


def test_message_names_setting_constraint_and_value():
    error = InputError("temperature", "must be greater than 0", -1.0)
    assert str(error) == "temperature must be greater than 0. Received: -1.0"
    assert error.describe("--temperature").startswith("--temperature must be")


def test_require_raises_only_when_the_condition_fails():
    require(True, "x", "must hold", 1)
    with pytest.raises(InputError, match="x must hold. Received: 'a'"):
        require(False, "x", "must hold", "a")


def test_what_a_file_holds_is_a_plain_error_for_its_reader():
    require_valid(True, "it must hold")
    with pytest.raises(ValueError, match="^it must hold$") as caught:
        require_valid(False, "it must hold")
    assert not isinstance(caught.value, InputError)
