import dataclasses
import json
import os
import types

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import experiment, precision, run_folder
from simclr_tf.augment.description import in_words
from simclr_tf.config import EncoderConfig
from simclr_tf.data.samples import sample_views
from simclr_tf.distribution import Part
from simclr_tf.errors import InputError
from simclr_tf.job import Job
from simclr_tf.models.network import build_model
from simclr_tf.settings import by_name
from simclr_tf.training import run_config


def settings(folder, photos, **changes):
    return by_name.build_run_config(
        {
            "model_dir": str(folder), "dataset": f"folder:{photos}", "image_size": 8,
            "resnet_depth": 18, "width_multiplier": 1 / 16, "train_batch_size": 4,
            "train_epochs": 2, "warmup_epochs": 0, "color_jitter_strength": 0,
            "use_blur": False, **changes,
        }
    )  # fmt: skip


def numbers(found):
    """Training images, steps an epoch, steps in all."""
    lengths = found.plan.lengths
    return found.plan.num_examples, lengths.steps_per_epoch, lengths.total_steps


def batches_from(found, step):
    return found.images.train_batches(found.stream, found.recipe.maker(compiled=False), step)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 9, 12, 3), np.uint8)
    for index, image in enumerate(pixels):
        folder = root / ("cat" if index % 2 else "dog")
        folder.mkdir(exist_ok=True)
        (folder / f"{index}.png").write_bytes(tf.io.encode_png(image).numpy())
    return root


def test_prepare_writes_nothing_and_counts_steps(tmp_path, photos):
    found = experiment.prepare(settings(tmp_path / "run", photos), trains=True)
    assert not (tmp_path / "run").exists()
    assert numbers(found) == (10, 2, 4)
    assert experiment.last_step(found) == 4
    assert found.eval_split is None
    assert any("no validation or test split" in note for note in found.notes)


def test_bad_images_are_counted_and_left_out(tmp_path, photos):
    bad = photos / "cat" / "bad.png"
    bad.write_bytes(b"no image")
    said = []
    try:
        run = settings(tmp_path, photos, skip_bad_images=True)
        found = experiment.prepare(run, trains=True, say=said.append)
    finally:
        bad.unlink()
    assert found.plan.num_examples == 10
    assert any("1 undecodable image is" in line and "bad.png" in line for line in said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="model_dir"):
        experiment.check_writable(str(tmp_path / "a" / "b"))


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="model_dir must be a folder that can be written"):
        experiment.check_writable(str(tmp_path / "file" / "run"))
    experiment.check_writable(str(tmp_path / "new" / "run"))
    assert not (tmp_path / "new").exists()


def test_initial_weights_depend_on_the_seed_alone(tmp_path, photos):
    def weights(seed):
        found = experiment.prepare(settings(tmp_path, photos, seed=seed), trains=True)
        return [v.numpy() for v in experiment.make_model(found).trainable_variables]

    first, again, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    "augment",
    [
        {"color_jitter_strength": 0.5, "use_blur": True},
        {"augmentation": "one_branch", "color_jitter_strength": 0.5, "transforms": "crop,color"},
        {"transforms": "sobel,motion_blur"},
        {"views": "crop flip color(0.5) | crop rot90"},
    ],
    ids=lambda augment: " ".join(str(value) for value in augment.values()),
)
def test_sampled_views_are_those_of_training(tmp_path, photos, augment):
    """Every sampled view of epoch 1 occurs in the batches of epoch 1."""
    run = settings(tmp_path, photos, train_batch_size=10, **augment)
    found = experiment.prepare(run, trains=True)
    originals, views, operations = sample_views(
        found.source, found.stream, found.recipe, 3, epoch=1
    )
    assert originals.shape == views[0].shape == views[1].shape == (3, 8, 8, 3)
    first = "1. crop" if "views" in augment else "crop"
    assert [[one[0].name for one in view] for view in operations] == [[first] * 3] * 2
    if "views" in augment:
        words = [[in_words(one) for one in view[0]] for view in operations]
        assert words == [["1. crop", "2. flip", "3. color(0.5)"], ["1. crop", "2. rot90"]]
    batch = next(iter(batches_from(found, 1)))
    for index, view in enumerate(views):
        trained = batch[f"view_{index}"].numpy()
        for image in view:
            assert np.abs(trained - image).max(axis=(1, 2, 3)).min() < 1e-5


def test_resuming_in_the_middle_sees_the_same_batches(tmp_path, photos):
    found = experiment.prepare(settings(tmp_path, photos), trains=True)
    stream = iter(batches_from(found, 0))
    whole = [next(stream) for _ in range(5)]
    resumed = iter(batches_from(found, 3))
    for expected in whole[3:]:
        batch = next(resumed)
        for name, value in expected.items():
            np.testing.assert_array_equal(batch[name], value)


def test_supervised_training_sees_one_view_of_pretraining(tmp_path, photos):
    augment = {"color_jitter_strength": 0.5}
    pretraining = experiment.prepare(settings(tmp_path, photos, **augment), trains=True)
    supervised = experiment.prepare(
        settings(tmp_path, photos, train_mode="supervised", **augment), trains=True
    )
    expected = next(iter(batches_from(pretraining, 0)))
    batch = next(iter(batches_from(supervised, 0)))
    assert set(batch) == {"view_0", "label"}
    np.testing.assert_array_equal(batch["view_0"], expected["view_0"])


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory, photos):
    root = tmp_path_factory.mktemp("unlabeled")
    for path in photos.rglob("*.png"):
        (root / path.name).write_bytes(path.read_bytes())
    return root


@pytest.fixture(scope="module")
def save_teacher(tmp_path_factory):
    """`save_teacher(class_names, **model_settings)` writes a run and returns its folder."""

    def save(class_names, **changes):
        folder = tmp_path_factory.mktemp("teacher")
        run = settings(folder, "x", image_size=32, train_mode="supervised")
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, **changes))
        model = build_model(run.model, len(class_names), 32)
        run_config.record_config(run, class_names)
        tf.train.Checkpoint(model=model).write(str(folder / "ckpt-5"))
        return str(folder)

    return save


def distilling(folder, photos, teacher, **changes):
    return settings(folder, photos, train_mode="distill", teacher=teacher, **changes)


def test_a_student_takes_its_classes_from_the_teacher(tmp_path, unlabeled, save_teacher):
    teacher = save_teacher(["a", "b", "c"])
    found = experiment.prepare(distilling(tmp_path, unlabeled, teacher), trains=True)
    assert (found.num_classes, found.class_names) == (3, ("a", "b", "c"))
    assert found.source.num_classes is None
    assert not found.teacher.model.trainable_variables
    assert any("the teacher is a ResNet-18" in note for note in found.notes)
    assert any("kNN and evaluation are skipped" in note for note in found.notes)
    student = experiment.make_model(found)
    assert student.linear_head.kernel.shape == (32, 3) and student.projection_head is None
    evaluated = experiment.prepare(distilling(tmp_path, unlabeled, "gone"), trains=False)
    assert evaluated.teacher is None, "evaluation needs no teacher"


@pytest.mark.parametrize("labels", ["labelled", "unlabeled"])
def test_teachers_that_do_not_fit_are_refused(tmp_path, photos, unlabeled, save_teacher, labels):
    images = photos if labels == "labelled" else unlabeled
    cases = [
        ("no SimCLR", str(tmp_path / "nothing"), "teacher "),
        ("headless", save_teacher(["a"], train_mode="pretrain",
                                  lineareval_while_pretraining=False),
         "teacher must have a linear head"),
    ]  # fmt: skip
    if labels == "labelled":
        without_record = save_teacher(["cat", "dog"])
        os.remove(os.path.join(without_record, "config.json"))
        cases += [
            ("several readings", without_record, "teacher must tell how it is read, .*--sk_ratio"),
            ("other number", save_teacher(["cat", "dog", "owl"]), "the 2 classes of .* with 3"),
            ("other names", save_teacher(["dog", "cat"]), "the classes of .*: cat, dog"),
        ]
    for title, teacher, message in cases:
        with pytest.raises(InputError, match=message):
            experiment.prepare(distilling(tmp_path, images, teacher), trains=True)
            pytest.fail(title)


def test_a_labelled_share_needs_labels(tmp_path, unlabeled):
    with pytest.raises(InputError, match="distill_alpha must be 1 with images that have no labels"):
        experiment.prepare(distilling(tmp_path, unlabeled, "x", distill_alpha=0.5), trains=True)
    with pytest.raises(InputError, match="must have labels with train_mode=supervised"):
        experiment.prepare(settings(tmp_path, unlabeled, train_mode="supervised"), trains=True)


def test_views_too_small_for_the_teacher_are_refused(tmp_path, photos, save_teacher):
    encoder = EncoderConfig(18, 1 / 16, stem="imagenet")
    teacher = save_teacher(["cat", "dog"], encoder=encoder)
    with pytest.raises(InputError, match="image_size.*at least 32 with stem=imagenet"):
        experiment.prepare(distilling(tmp_path, photos, teacher), trains=True)


def test_evaluation_counts_every_image_once(tmp_path, photos):
    found = experiment.prepare(settings(tmp_path, photos, eval_batch_size=4), trains=True)
    batches = found.images_with_labels.eval_batches("train", setting="train_split")(Part())
    assert sum(float(tf.reduce_sum(batch["weight"])) for batch in batches) == 10


def test_few_labels_train_on_few_images_or_hide_the_rest(tmp_path, photos):
    few = {"label_subset": "2_per_class"}
    tuned = settings(tmp_path / "a", photos, train_mode="finetune", **few)
    found = experiment.prepare(tuned, trains=True)
    assert numbers(found)[:2] == (4, 1)
    assert any("4 labelled images" in note for note in found.notes)
    labels = [batch["label"].numpy() for batch in batches_from(found, 0).take(1)]
    assert sorted(np.concatenate(labels)) == [0, 0, 1, 1]
    every = experiment.prepare(settings(tmp_path / "b", photos, **few), trains=True)
    assert every.plan.num_examples == 10
    labels = [batch["label"].numpy() for batch in batches_from(every, 0).take(2)]
    assert sum(label >= 0 for label in np.concatenate(labels)) <= 4


def test_the_bank_of_the_evaluation_holds_only_labels_that_may_be_used(tmp_path, photos):
    run = settings(tmp_path / "a", photos, label_subset="2_per_class", eval_batch_size=4)
    found = experiment.prepare(run, trains=False)
    batches = found.images_with_labels.eval_batches("train", setting="train_split")(Part())
    weights = np.concatenate([batch["weight"].numpy() for batch in batches])
    labels = np.concatenate([batch["label"].numpy() for batch in batches])
    assert weights.sum() == 4 and (labels[weights > 0] >= 0).all()


@pytest.mark.parametrize("remat", [False, True])
def test_remat_recomputes_the_blocks_of_the_model_that_trains(tmp_path, photos, remat):
    found = experiment.prepare(settings(tmp_path, photos, remat=remat), trains=True)
    groups = experiment.make_model(found).encoder.groups
    assert [group.recompute for group in groups] == [remat] * 4


def fake_cpu(monkeypatch, tmp_path, flags):
    path = tmp_path / "cpuinfo"
    path.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(precision, "CPU_INFO", str(path))


@pytest.mark.parametrize(
    ("flags", "expected"), [("avx2 avx512_bf16", "bfloat16"), ("avx2", "float32")]
)
def test_auto_precision_is_settled_before_anything_records_it(
    tmp_path, photos, monkeypatch, flags, expected
):
    fake_cpu(monkeypatch, tmp_path, flags)
    found = experiment.prepare(settings(tmp_path, photos, precision="auto"), trains=True)
    assert found.run.model.precision == expected
    assert any(f"--precision=auto means {expected}: the CPU" in note for note in found.notes)
    assert experiment.make_model(found).config.precision == expected
    run_config.record_config(found.asked)
    assert run_folder.read_config(str(tmp_path))["precision"] == expected


@pytest.mark.parametrize("trains", [True, False])
def test_a_run_keeps_its_precision_on_other_hardware(tmp_path, photos, monkeypatch, trains):
    run = settings(tmp_path, photos, precision="auto")
    fake_cpu(monkeypatch, tmp_path, "avx2")
    run_config.record_config(experiment.prepare(run, trains=True).asked)
    fake_cpu(monkeypatch, tmp_path, "avx512_bf16")
    # Without a checkpoint nothing has been learned, and the hardware decides anew.
    assert experiment.prepare(run, trains).run.model.precision == "bfloat16"
    (tmp_path / "ckpt-1.index").touch()
    found = experiment.prepare(run, trains)
    assert found.run.model.precision == "float32"
    assert "--precision=auto stays float32, as the run was started" in found.notes
    if trains:
        with pytest.raises(InputError, match="precision=float32 there, bfloat16 here"):
            experiment.prepare(settings(tmp_path, photos, precision="bfloat16"), trains)


def test_replicas_that_xla_can_not_compile_are_refused(tmp_path, photos, monkeypatch):
    class Replicas:
        num_replicas_in_sync = 2
        extended = types.SimpleNamespace(worker_devices=["/cpu:0"])

    monkeypatch.setattr(experiment, "open_job", lambda *_: Job(Replicas()))
    with pytest.raises(InputError, match="jit_compile must be auto, input or off with 2"):
        experiment.prepare(settings(tmp_path / "run", photos, jit_compile="on"), trains=True)
    assert not (tmp_path / "run").exists()


def test_nothing_after_prepare_sees_auto(tmp_path, photos):
    found = experiment.prepare(settings(tmp_path, photos, precision="auto"), trains=True)
    settled = by_name.flatten(found.run)
    assert "auto" not in {value for name, value in settled.items() if name != "strategy"}
    run_config.record_config(found.asked, None, None, found.run)
    record = run_folder.read_config(str(tmp_path))
    assert (record["jit_compile"], record["data_sharding"]) == ("auto", "auto")
    assert record["resolved"] == {
        "stem": "cifar", "precision": found.run.model.precision, "jit_compile": "input",
        "data_sharding": "batch", "augment_on": "host", "antialias": "on",
        "holdout": 0.0,
    }  # fmt: skip
    run_config.check_same_run(found.asked)


def test_a_run_of_a_folder_goes_on_with_the_pixels_it_was_begun_with(tmp_path, photos):
    run = settings(tmp_path, photos)
    run_config.record_config(run)
    record = run_folder.read_config(str(tmp_path))
    assert experiment.prepare(run, trains=True).run.data.antialias == "on"
    del record["antialias"]  # as records were before there was a choice
    (tmp_path / run_folder.CONFIG).write_text(json.dumps(record))
    (tmp_path / "ckpt-1.index").touch()
    found = experiment.prepare(run, trains=True)
    assert found.run.data.antialias == "off" and found.source.reading.antialias is False
    assert any("--antialias stays off, as the run was started" in note for note in found.notes)
