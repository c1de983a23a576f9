"""Paths: what counts as weights, what is refused, archives."""

import os
import tarfile
import warnings

import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.files import check_reachable
from simclr_tf.weights import gcs, integrity, locate


def checkpoint(folder, step, config=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"ckpt-{step}.index", f"ckpt-{step}.data-00000-of-00001"):
        (folder / name).write_bytes(b"")
    if config:
        (folder / "config.json").write_text("{}")
    return str(folder / f"ckpt-{step}")


def saved_model(folder):
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "variables" / "variables.index").write_bytes(b"")
    return str(folder)


def test_a_checkpoint_by_its_prefix_its_files_and_its_folder(tmp_path):
    checkpoint(tmp_path / "run", 9, config=True)
    prefix = checkpoint(tmp_path / "run", 10)
    wanted = locate.Location(prefix, run_dir=str(tmp_path / "run"))
    for path in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001",
                 tmp_path / "run", f"{tmp_path}/run/"):  # fmt: skip
        assert locate.locate(str(path)) == wanted
    assert locate.locate(str(tmp_path / "run" / "ckpt-9")).prefix.endswith("ckpt-9")


def test_a_folder_without_config_is_no_run_of_ours(tmp_path):
    prefix = checkpoint(tmp_path / "published", 20)
    assert locate.locate(str(tmp_path / "published")) == locate.Location(prefix)


def test_a_saved_model_by_its_folder_its_graph_and_its_variables(tmp_path):
    folder = saved_model(tmp_path / "module")
    wanted = locate.Location(f"{folder}/variables/variables", saved_model=folder)
    for path in (folder, f"{folder}/saved_model.pb", f"{folder}/variables/variables"):
        assert locate.locate(path) == wanted


def test_the_newest_export_of_a_run_without_checkpoints(tmp_path):
    for step in (9, 100, 20):
        saved_model(tmp_path / "run" / "saved_model" / str(step))
    for path in (tmp_path / "run", tmp_path / "run" / "saved_model"):
        assert locate.locate(str(path)).saved_model == str(tmp_path / "run" / "saved_model" / "100")
    prefix = checkpoint(tmp_path / "run", 5)
    assert locate.locate(str(tmp_path / "run")).prefix == prefix


def test_an_export_of_several_formats(tmp_path):
    folder = saved_model(tmp_path / "export" / "saved_model")
    assert locate.locate(str(tmp_path / "export")).saved_model == folder


@pytest.mark.parametrize("name", ["absent", "empty", "empty/ckpt-1", "graph only", "notes.txt"])
def test_paths_without_weights_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "graph only").mkdir()
    (tmp_path / "graph only" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="^checkpoint must be"):
        locate.check(str(tmp_path / name))


def test_a_study_says_where_its_runs_lie(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(InputError, match="such as a run in the cells/ of this study"):
        locate.check(str(tmp_path))


def test_a_missing_file_system_names_the_package():
    with pytest.raises(InputError, match="pip install 'tensorflow-io'"):
        locate.locate("nothing://bucket/ckpt-1")


def test_buckets_without_a_client_and_in_other_settings(monkeypatch):
    def exists(path):
        raise locate.tf.errors.UnimplementedError(None, None, "scheme 'gs' not implemented")

    monkeypatch.setattr(locate.tf.io.gfile, "exists", exists)
    monkeypatch.setattr(gcs, "_storage", lambda: __import__("nothing.google"))
    with pytest.raises(InputError, match="gs:// needs `pip install google-cloud-storage`, or copy"):
        locate.locate(locate.fetched("gs://bucket/ckpt-1"))
    with pytest.raises(InputError, match="gs:// needs `pip install google-cloud-storage`, or copy"):
        locate.check("gs://bucket/ckpt-1")
    with pytest.raises(InputError, match="model_dir must .* gs:// needs a TensorFlow that reads"):
        check_reachable("gs://bucket/run", "model_dir")


def test_archives_are_unpacked_and_removed(tmp_path):
    folder = saved_model(tmp_path / "module")
    archive = str(tmp_path / "module.tar.gz")
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, arcname=".")
    locate.check(archive)
    with locate.unpacked(archive) as unpacked:
        assert locate.locate(unpacked).saved_model == unpacked
    with pytest.raises(InputError):
        locate.locate(unpacked)
    with locate.unpacked(folder) as same:
        assert same == folder


def test_an_archive_with_its_folder_in_it_and_an_export_with_an_archive(tmp_path):
    folder = saved_model(tmp_path / "module")
    (tmp_path / "release").mkdir()
    with tarfile.open(tmp_path / "release" / "encoder.tar.gz", "w:gz") as file:
        file.add(folder, arcname="module")
    locate.check(str(tmp_path / "release"))
    with locate.unpacked(str(tmp_path / "release")) as unpacked:
        assert locate.locate(unpacked).saved_model == unpacked


def test_errors_in_an_archive_name_the_archive(tmp_path):
    archive = tmp_path / "empty.tar.gz"
    with tarfile.open(archive, "w:gz"):
        pass
    with pytest.raises(InputError) as caught, locate.unpacked(str(archive)) as unpacked:
        locate.locate(unpacked)
    assert caught.value.received == str(archive)


def test_a_keras_file_is_for_keras(tmp_path):
    (tmp_path / "encoder.keras").write_bytes(b"")
    with pytest.raises(InputError, match="opens with keras.models.load_model"):
        locate.locate(str(tmp_path / "encoder.keras"))


def test_bad_archives_are_refused(tmp_path, monkeypatch):
    (tmp_path / "bad.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(InputError, match="must be a readable"):
        locate.unpacked(str(tmp_path / "bad.tar.gz")).__enter__()
    with pytest.raises(InputError, match="must exist"):
        locate.check(str(tmp_path / "absent.tar.gz"))
    os.mkfifo(tmp_path / "pipe.tar.gz")
    with pytest.raises(InputError, match="must be a regular file"):
        locate.unpacked(str(tmp_path / "pipe.tar.gz")).__enter__()
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="must be an archive that can be fetched"):
        locate.unpacked("http://127.0.0.1:9/x.tar.gz").__enter__()


def test_archives_that_reach_outside_are_refused(tmp_path):
    (tmp_path / "evil").write_text("x")
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "evil", arcname="../escaped")
    with pytest.raises(InputError, match="must be a readable"):
        locate.unpacked(str(archive)).__enter__()


@pytest.mark.parametrize(
    ("prefix", "step"), [("a/ckpt-120", 120), ("model.ckpt-0", 0), ("x", None)]
)
def test_checkpoint_step(prefix, step):
    assert locate.checkpoint_step(prefix) == step


def test_list_checkpoints_is_in_order_of_steps(tmp_path):
    for step in (100, 9, 20):
        checkpoint(tmp_path, step)
    steps = [locate.checkpoint_step(prefix) for prefix in locate.list_checkpoints(str(tmp_path))]
    assert steps == [9, 20, 100]
    assert locate.list_checkpoints(str(tmp_path / "absent")) == []
    assert locate.newest_checkpoint(str(tmp_path / "absent")) is None


def run_of(folder, steps, manifests=True):
    """A folder with real checkpoints of these steps."""
    for step in steps:
        prefix = tf.train.Checkpoint(v=tf.Variable(tf.ones(50))).write(f"{folder}/ckpt-{step}")
        if manifests:
            integrity.write_manifest(prefix, step, {})


def flip(path):
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def test_a_folder_means_its_newest_intact_checkpoint(tmp_path):
    run_of(tmp_path, [8, 9, 10])
    data = "data-00000-of-00001"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert locate.locate(str(tmp_path)).prefix == f"{tmp_path}/ckpt-10"
    flip(tmp_path / f"ckpt-10.{data}")
    os.truncate(tmp_path / "ckpt-9.index", 7)
    with pytest.warns(UserWarning) as caught:
        assert locate.locate(str(tmp_path)).prefix == f"{tmp_path}/ckpt-8"
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path}/ckpt-10 is damaged (ckpt-10.{data} has changed since it was written); "
        f"using {tmp_path}/ckpt-8",
        f"{tmp_path}/ckpt-9 is damaged (ckpt-9.index has 7 bytes instead of "
        f"{os.path.getsize(tmp_path / 'ckpt-8.index')}); using {tmp_path}/ckpt-8",
    ]
    # Asked for by name, it is given; and a listing is a listing.
    assert locate.locate(f"{tmp_path}/ckpt-10").prefix == f"{tmp_path}/ckpt-10"
    assert locate.locate(f"{tmp_path}/ckpt-9.manifest.json").prefix == f"{tmp_path}/ckpt-9"
    assert locate.newest_checkpoint(str(tmp_path)) == f"{tmp_path}/ckpt-10"


def test_a_folder_of_damaged_checkpoints_is_refused(tmp_path):
    run_of(tmp_path, [8, 9])
    for step in (8, 9):
        flip(tmp_path / f"ckpt-{step}.index")
    with pytest.raises(InputError) as caught:
        locate.locate(str(tmp_path))
    assert str(caught.value) == (
        "checkpoint must be a folder with an intact checkpoint (ckpt-9: ckpt-9.index has changed "
        "since it was written; ckpt-8: ckpt-8.index has changed since it was written). "
        f"Received: {str(tmp_path)!r}"
    )


def test_one_without_a_manifest_is_read_where_others_have_theirs(tmp_path):
    run_of(tmp_path, [8])
    run_of(tmp_path, [9, 10], manifests=False)
    assert locate.locate(str(tmp_path)).prefix.endswith("ckpt-10")
    os.truncate(tmp_path / "ckpt-10.data-00000-of-00001", 20)
    with pytest.warns(UserWarning, match="ckpt-10 is damaged .TensorFlow can't read it"):
        assert locate.locate(str(tmp_path)).prefix.endswith("ckpt-9")


def test_published_checkpoints_and_the_question_whether_there_are_any_read_nothing(
    tmp_path, monkeypatch
):
    checkpoint(tmp_path / "published", 5)  # empty files
    prefix = checkpoint(tmp_path / "published", 10)
    assert locate.locate(str(tmp_path / "published")).prefix == prefix
    run_of(tmp_path / "run", [8])

    def read(path, contents=True):
        raise AssertionError(path)

    monkeypatch.setattr(integrity, "problem", read)
    locate.check(str(tmp_path / "run"))
    assert locate.newest_checkpoint(str(tmp_path / "run")) == f"{tmp_path}/run/ckpt-8"


@pytest.mark.parametrize("name", ["ckpt-1", ""])
def test_the_file_that_tensorflow_follows_to_other_checkpoints_is_not_read(name, tmp_path):
    elsewhere = tf.train.Checkpoint(v=tf.Variable([7.0])).write(str(tmp_path / "secret" / "ckpt-9"))
    run_of(tmp_path / "run", [1], manifests=False)
    state = f'model_checkpoint_path: "{elsewhere}"\n'
    (tmp_path / "run" / name).mkdir(exist_ok=True)
    (tmp_path / "run" / name / "checkpoint").write_text(state)
    prefix = locate.locate(str(tmp_path / "run")).prefix
    assert integrity.open_reader(prefix).get_variable_to_shape_map()[
        "v/.ATTRIBUTES/VARIABLE_VALUE"
    ] == [50]
    assert locate.damage(prefix) is None
