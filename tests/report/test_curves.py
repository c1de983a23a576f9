"""Scalars come back as they were written; the picture is there whatever is missing."""

import os
import sys

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from simclr_tf.errors import InputError
from simclr_tf.report import curves
from simclr_tf.report.curves import plot_learning_curves, read_scalars


def write(folder, steps, **tags):
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for index, step in enumerate(steps):
            for tag, values in tags.items():
                tf.summary.scalar(tag.replace("__", "/"), values[index], step=step)
    writer.close()


def test_scalars_of_run_and_sub_folders(tmp_path):
    write(tmp_path, [1, 2, 30], train__contrast_loss=[3.0, 2.5, 2.0], learning_rate=[0, 0.5, 1])
    write(tmp_path / "eval_test", [30], eval__label_top_1_accuracy=[0.25])
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        tf.summary.image("image", np.zeros((1, 4, 4, 3), np.uint8), step=1)
        tf.summary.text("note", "hello", step=1)
        tf.summary.histogram("weights", np.arange(5.0), step=1)
    writer.close()
    found = read_scalars(tmp_path)
    assert [(entry.tag, entry.folder) for entry in found] == [
        ("eval/label_top_1_accuracy", "eval_test"),
        ("learning_rate", "."),
        ("train/contrast_loss", "."),
    ]
    assert found[2].steps.tolist() == [1, 2, 30]
    assert found[2].values.tolist() == [3.0, 2.5, 2.0]


def test_repeated_steps_after_a_resume_count_once(tmp_path):
    write(tmp_path, [1, 2, 3], train__contrast_loss=[9.0, 9.0, 9.0])
    write(tmp_path, [2, 3, 4], train__contrast_loss=[2.0, 3.0, 4.0])
    [found] = read_scalars(tmp_path)
    assert found.steps.tolist() == [1, 2, 3, 4]
    assert found.values.tolist() == [9.0, 2.0, 3.0, 4.0]


def test_the_later_attempt_counts_whatever_the_names_of_the_files(tmp_path):
    write(tmp_path, [1, 2, 3], train__contrast_loss=[9.0, 9.0, 9.0])
    [first] = tmp_path.iterdir()
    first.rename(tmp_path / f"z.{first.name}")
    write(tmp_path, [2, 3, 4], train__contrast_loss=[2.0, 3.0, 4.0])
    [found] = read_scalars(tmp_path)
    assert found.values.tolist() == [9.0, 2.0, 3.0, 4.0]


def test_file_cut_off(tmp_path):
    write(tmp_path, range(50), train__contrast_loss=[1.0] * 50)
    [path] = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - 7)
    [found] = read_scalars(tmp_path)
    assert found.steps.tolist() == list(range(49))


def test_what_is_only_named_like_an_event_file_is_not_opened(tmp_path):
    write(tmp_path, range(3), loss=[1.0, 2.0, 3.0])
    os.mkfifo(tmp_path / "events.out.tfevents.1.pipe")
    (tmp_path / "events.out.tfevents.2.zero").symlink_to("/dev/zero")
    (tmp_path / "tfevents").mkdir()
    (found,) = curves.read_scalars(tmp_path)
    assert found.tag == "loss" and found.steps.tolist() == [0, 1, 2]
    assert len(curves.event_files(tmp_path)) == 1


def test_a_record_longer_than_memory_is_not_asked_for(tmp_path):
    write(tmp_path, range(3), loss=[1.0, 2.0, 3.0])
    (sound,) = curves.event_files(tmp_path)
    # 2^40 bytes, with the checksum of this number (CRC-32C, masked): a sound start of a record.
    start = (2**40).to_bytes(8, "little") + bytes.fromhex("aa3d6be4")
    (tmp_path / "events.out.tfevents.9.long").write_bytes(sound.read_bytes() + start + b"x")
    assert [curves.declares_too_much(path) for path in curves.event_files(tmp_path)].count(
        True
    ) == 1
    (found,) = read_scalars(tmp_path)
    assert found.values.tolist() == [1, 2, 3]


def test_absent_folder():
    with pytest.raises(InputError, match="model_dir"):
        read_scalars("no/such/folder")


def picture(path):
    return tf.io.decode_png(path.read_bytes(), channels=3).numpy()


def has_color(pixels, rgb):
    return bool(np.any(np.all(np.abs(pixels.astype(int) - rgb) < 12, axis=-1)))


def test_picture(tmp_path):
    steps = np.arange(1, 201)
    write(
        tmp_path, steps, train__contrast_loss=4 / np.sqrt(steps),
        train__contrast_acc=1 - 1 / np.sqrt(steps), train__supervised_acc=steps / 400,
        learning_rate=np.sin(steps / 64),
    )  # fmt: skip
    write(tmp_path / "eval", [100, 200], eval__label_top_1_accuracy=[0.3, 0.5])
    plot_learning_curves(tmp_path, tmp_path / "out" / "curves.png")
    pixels = picture(tmp_path / "out" / "curves.png")
    assert pixels.shape == (840, 1200, 3)
    blue, orange = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)
    for panel in (pixels[:420, :600], pixels[:420, 600:], pixels[420:, :600], pixels[420:, 600:]):
        assert has_color(panel, blue)
    assert has_color(pixels[420:, :600], orange)


def lines_drawn(axes):
    return [line.get_ydata() for line in axes.get_lines()]


def test_long_noisy_curves_get_a_running_mean_and_schedules_do_not():
    values = np.random.default_rng(0).uniform(size=200)
    values[100] = np.nan
    figure = Figure()
    for tag, scale in (("train/contrast_acc", 100), ("learning_rate", 1)):
        axes = figure.add_subplot()
        series = curves.ScalarSeries(tag, ".", np.arange(200), values)
        (panel,) = (one for one in curves._PANELS if tag in one.tags)
        curves._draw_panel(axes, panel, [series])
        raw, *smooth = lines_drawn(axes)
        np.testing.assert_array_equal(raw, scale * values)
        if tag == "learning_rate":
            assert smooth == []
        else:  # 4 points to either side, fewer at the ends, none where the value is missing.
            expected = [np.nanmean(raw[max(0, i - 4) : i + 5]) for i in range(200)]
            np.testing.assert_allclose(smooth[0], expected)


def test_one_scalar_in_several_folders_gives_a_line_each():
    axes = Figure().add_subplot()
    series = [
        curves.ScalarSeries("train/contrast_acc", folder, np.arange(3), np.full(3, level))
        for folder, level in ((".", 0.1), ("second", 0.2))
    ]
    curves._draw_panel(axes, curves._PANELS[1], series)
    assert [list(values) for values in lines_drawn(axes)] == [[10] * 3, [20] * 3]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["training (.)", "training (second)"]


def test_empty_run_gives_notes_instead_of_curves(tmp_path):
    plot_learning_curves(tmp_path, tmp_path / "curves.png")
    pixels = picture(tmp_path / "curves.png")
    assert not has_color(pixels, (0x00, 0x72, 0xB2))
    for panel in (pixels[60:420, :600], pixels[60:420, 600:], pixels[420:, :600]):
        assert panel.min() < 128  # There is text.


@pytest.mark.parametrize("count", [1, 150])
def test_diverged_run(tmp_path, count):
    write(tmp_path, range(count), train__contrast_loss=[np.nan] * count,
          train__contrast_acc=[*[0.5] * (count - 1), np.inf])  # fmt: skip
    plot_learning_curves(tmp_path, tmp_path / "curves.png")
    assert picture(tmp_path / "curves.png").shape == (840, 1200, 3)


def test_the_global_plotting_state_stays_out_of_it(tmp_path):
    loaded = "matplotlib.pyplot" in sys.modules
    plot_learning_curves(tmp_path, tmp_path / "curves.png")
    assert ("matplotlib.pyplot" in sys.modules) == loaded
