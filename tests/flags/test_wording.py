import pytest

from simclr_tf.flags import foreign, wording


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
         "there is no flag --temperatur (did you mean --temperature?)"),
        ("Unknown command line flag 'zz'", "there is no flag --zz"),
        ("Unknown command line flag 'base-lr'. Did you mean: se_ratio ?",
         "there is no flag --base-lr; use --learning_rate"),
        ("something\n else", "something else"),
    ],
)  # fmt: skip
def test_errors_of_the_parser_in_our_words(text, line):
    assert wording.plain(ValueError(text), foreign.FLAGS) == line
