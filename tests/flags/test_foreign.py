import pytest

from simclr_tf.flags import definitions, foreign, parsing


def test_no_foreign_name_is_one_of_ours():
    ours = set(definitions.define_flags())
    assert not ours & set(foreign.FLAGS) and not set(definitions.MODES) & set(foreign.MODES)


@pytest.mark.parametrize("answer", sorted({*foreign.FLAGS.values(), *foreign.MODES.values()}))
def test_what_is_answered_exists(answer):
    words = [word.strip(",(") for word in answer.split()]
    flags = [word for word in words if word.startswith("--")]
    assert flags or answer.startswith(("none: ", "the program "))
    for flag in flags:
        name = flag[2:].partition("=")[0]
        assert name in definitions.define_flags()
        if name == "mode":
            assert flag.partition("=")[2] in definitions.MODES


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("--epochs=3", "use --train_epochs"),
        ("--lr=0.1", "use --learning_rate"),
        ("--batch-size 3", "use --train_batch_size"),
        ("--num_workers=4", "--num_workers: the input pipeline finds"),
        ("--wandb", "use --log_to=wandb"),
        ("--arch=resnet50", "use --resnet_depth"),
        ("--temprature=1", "did you mean --temperature"),
        ("--mode=pretrain", "use --mode=train"),
        ("--mode=evalute", "did you mean evaluate"),
    ],
)
def test_answers(words, answer):
    with pytest.raises(ValueError) as caught:
        parsing.parse_command_line(words.split())
    assert answer in parsing.describe_error(caught.value)
