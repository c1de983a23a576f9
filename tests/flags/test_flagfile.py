import os

import pytest

from simclr_tf.errors import InputError
from simclr_tf.flags import flagfile, parsing


def test_a_file_stands_for_its_lines(tmp_path):
    (tmp_path / "inner").write_text("--seed=7\n")
    (tmp_path / "outer").write_text(
        f"# a comment\n\n// another\n  --temperature=0.5\n--flagfile={tmp_path}/inner\n"
    )
    words = ["--knn=False", "--flagfile", f"{tmp_path}/outer", "--seed=8"]
    expected = ["--knn=False", "--temperature=0.5", "--seed=7", "--seed=8"]
    assert flagfile.expand(words) == expected
    command = parsing.parse_command_line([f"--flagfile={tmp_path}/outer", "--seed=8"])
    assert (command.config.train.seed, command.config.objective.temperature) == (8, 0.5)
    assert command.notes == ("--seed is given 2 times; the last one counts, 8",)


@pytest.mark.parametrize("kind", ["absent", "folder", "binary", "zeros", "fifo", "itself", "none"])
def test_what_is_no_file_of_flags_is_refused(tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    if kind == "binary":
        path.write_bytes(b"\x7fELF\xff\xfe")
    if kind == "zeros":
        path.write_bytes(bytes(2**20 + 1))
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "itself":
        path.write_text(f"--flagfile={path}")
    words = ["--flagfile"] if kind == "none" else [f"--flagfile={path}"]
    with pytest.raises(InputError) as caught:
        parsing.parse_command_line(words)
    assert parsing.describe_error(caught.value).startswith("--flagfile must")


def test_files_that_double_at_every_level_have_an_end(tmp_path):
    for level in range(40):
        (tmp_path / f"f{level}").write_text(f"--flagfile={tmp_path}/f{level + 1}\n" * 2)
    (tmp_path / "f40").write_text("--knn=False")
    with pytest.raises(InputError, match="flagfile must lead to at most 100 files"):
        flagfile.expand([f"--flagfile={tmp_path}/f0"])


def test_a_mark_of_byte_order_is_no_part_of_a_flag(tmp_path):
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbf--knn=False")
    assert flagfile.expand([f"--flagfile={tmp_path}/f"]) == ["--knn=False"]


@pytest.mark.parametrize("line", ["--dataset folder:/x", "dataset=x"])
def test_a_line_of_another_form_is_named_with_its_file(line, tmp_path):
    (tmp_path / "f").write_text(line)
    with pytest.raises(
        InputError, match=f"lines of the form --name=value .{tmp_path}/f."
    ) as caught:
        flagfile.expand([f"--flagfile={tmp_path}/f"])
    assert caught.value.received == line
