import pytest

from simclr_tf.errors import (
    InputError,
    describe_failure,
    require,
    require_choice,
    require_valid,
)


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


@pytest.mark.parametrize(
    ("value", "hint"),
    [("trian", " (did you mean train?)"), ("zzz", ""), (3, ""), (None, "")],
)
def test_the_nearest_choice_is_offered(value, hint):
    with pytest.raises(InputError) as caught:
        require_choice("mode", value, ("train", "eval", -1))
    assert caught.value.constraint == f"must be one of train, eval, -1{hint}"
    require_choice("mode", -1, ("train", "eval", -1))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileExistsError(17, "File exists", "run/x\n"), r"run/x\n can't be used (File exists)"),
        (PermissionError(13, "Permission denied", b"a"), "a can't be used (Permission denied)"),
        (OSError(28, "No space left on device"),
         "OSError: [Errno 28] No space left on device (--debug: traceback)"),
        (ValueError("two\nlines"), "ValueError: two lines (--debug: traceback)"),
    ],
)  # fmt: skip
def test_what_nobody_foresaw_is_one_line(error, line):
    assert describe_failure(error) == line
