"""Paths: what counts as weights, what is refused, archives."""

import tarfile

import pytest

from simclr_tf.errors import InputError
from simclr_tf.weights import locate


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


def test_a_missing_file_system_names_the_package():
    with pytest.raises(InputError, match="pip install 'tensorflow-io'"):
        locate.locate("nothing://bucket/ckpt-1")


def test_gcs_names_tensorflows_own_extra(monkeypatch):
    def exists(path):
        raise locate.tf.errors.UnimplementedError(None, None, "scheme 'gs' not implemented")

    monkeypatch.setattr(locate.tf.io.gfile, "exists", exists)
    with pytest.raises(InputError, match=r"gs:// needs `pip install 'tensorflow\[gcs-filesystem"):
        locate.locate("gs://bucket/ckpt-1")


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


def test_bad_archives_are_refused(tmp_path):
    (tmp_path / "bad.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(InputError, match="must be a readable"):
        locate.unpacked(str(tmp_path / "bad.tar.gz")).__enter__()
    with pytest.raises(InputError, match="must exist"):
        locate.check(str(tmp_path / "absent.tar.gz"))
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
