from simclr_tf.report import scoreboard_table

ROWS = [("Linear head", "56.0 %", "10 epochs"), ("kNN", "k=1: 3.0 %", "")]


def test_plain_lines_are_aligned():
    text = scoreboard_table.plain("Linear", ROWS, "3.0 s").splitlines()
    assert text[1:3] == ["Linear (3.0 s)", "--------------"]
    assert text[3] == "Linear head  56.0 %"
    assert text[4] == "    10 epochs"
    assert text[5] == "kNN          k=1: 3.0 %"


def test_markdown_holds_every_section_and_note():
    sections = {
        "linear": {"title": "Linear (B.6)", "seconds": 62.0, "notes": ["a note"],
                   "rows": [{"what": "a|b", "result": "1 %", "how": "x"}]},
    }  # fmt: skip
    about = {"encoder": "runs/a", "global_step": 7, "dataset": "digits", "train_split": "train",
             "test_split": "test", "endpoint": "final_avg_pool", "image_size": 8}  # fmt: skip
    text = scoreboard_table.markdown(about, sections).splitlines()
    assert text[0] == "# Scoreboard of runs/a, step 7"
    assert text[2].startswith("digits: trained on `train`, tested on `test`")
    assert "| **Linear (B.6)** |  |  | 1 min 02 s |" in text
    assert "| a\\|b | 1 % | x |  |" in text
    assert "- a note" in text
    widths = {line.replace("\\|", "").count("|") for line in text if line.startswith("|")}
    assert widths == {5}
