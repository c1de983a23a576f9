import pytest

from flags import wording


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("flag --train_steps=0.5: invalid literal for int() with base 10: '0.5'",
         "--train_steps must be a whole number. Received: '0.5'"),
        ("flag --learning_rate=x: could not convert string to float: 'x'",
         "--learning_rate must be a number. Received: 'x'"),
        ("flag --knn=maybe: ('Non-boolean argument to boolean flag', 'maybe')",
         "--knn must be True or False. Received: 'maybe'"),
        ("Unknown command line flag 'temperatur'. Did you mean: temperature ?",
         "Unknown command line flag 'temperatur' (did you mean temperature?)"),
        ("Unknown command line flag 'zz'", "Unknown command line flag 'zz'"),
        ("something\n else", "something else"),
    ],
)  # fmt: skip
def test_errors_of_the_parser_in_our_words(text, line):
    assert wording.plain(ValueError(text)) == line
