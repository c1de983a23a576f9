"""Weights in buckets: what of them is fetched, the copies, and what is left when it goes wrong."""

import contextlib
import errno
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from simclr_tf.encoder import load_encoder
from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import open_encoder
from simclr_tf.weights import archives, buckets, gcs, locate
from tests.weights import foreign_checkpoints as foreign
from tests.weights.bucket_server import serving

CONTENT = bytes(range(256)) * 2000
RUN = ["run/ckpt-3.index", "run/ckpt-3.data-00000-of-00001", "run/ckpt-12.index",
       "run/ckpt-12.data-00000-of-00001", "run/config.json", "run/flags.json", "run/checkpoint",
       "run/result_12.json", "run/result_3.json", "run/events.out.tfevents.1",
       "run/saved_model/12/saved_model.pb"]  # fmt: skip
TF1 = ["r50/checkpoint", "r50/graph.pbtxt", "r50/model.ckpt-9.index", "r50/model.ckpt-9.meta",
       "r50/model.ckpt-9.data-00000-of-00002", "r50/model.ckpt-9.data-00001-of-00002",
       "r50/hub/saved_model.pb", "r50/hub/tfhub_module.pb", "r50/hub/variables/variables.index",
       "r50/hub/variables/variables.data-00000-of-00001"]  # fmt: skip
HUB = ["saved_model.pb", "tfhub_module.pb", "variables/variables.data-00000-of-00001",
       "variables/variables.index"]  # fmt: skip
EXPORT = ["release/encoder.tar.gz", "release/encoder.keras", "release/README.md"]


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server without objects; copies go below `tmp_path/cache`."""
    monkeypatch.setattr(gcs, "PAUSES", (0, 0))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    with serving() as running:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.address)
        yield running


@pytest.fixture
def checkpoint(server):
    """The address of a checkpoint on the server."""
    server.contents |= {"b/a/ckpt-1.index": b"index", "b/a/ckpt-1.data-00000-of-00001": CONTENT}
    return "gs://b/a/ckpt-1"


def kept(tmp_path):
    """Files in the cache, but for locks."""
    folder = tmp_path / "cache"
    return sorted(path.name for path in folder.rglob("*")
                  if path.is_file() and path.suffix != ".lock")  # fmt: skip


# What an address means.


class Listed:
    """A bucket that is a list of names."""

    def __init__(self, names):
        self._names = sorted(names)

    def list_objects(self, prefix, delimiter=None):
        return [gcs.Object(n, 1, 1, "", None) for n in self._names if n.startswith(prefix)]


@pytest.mark.parametrize(
    ("names", "path", "folder", "chosen", "inner"),
    [
        (RUN, "run", "run/", ["ckpt-12.data-00000-of-00001", "ckpt-12.index", "config.json",
                              "flags.json", "result_12.json"], "ckpt-12"),
        (RUN, "run/ckpt-3", "run/", ["ckpt-3.data-00000-of-00001", "ckpt-3.index", "config.json",
                                     "flags.json", "result_3.json"], "ckpt-3"),
        (RUN, "run/ckpt-3.index", "run/", ["ckpt-3.data-00000-of-00001", "ckpt-3.index",
                                           "config.json", "flags.json", "result_3.json"], "ckpt-3"),
        (RUN[-1:], "run", "run/saved_model/12/", ["saved_model.pb"], ""),
        (RUN, "run/saved_model", "run/saved_model/12/", ["saved_model.pb"], ""),
        (["1/saved_model.pb", "20/saved_model.pb", "3/saved_model.pb", "x"], "", "20/",
         ["saved_model.pb"], ""),
        (TF1, "r50", "r50/", sorted(name[4:] for name in TF1[2:6]), "model.ckpt-9"),
        (TF1, "r50/hub", "r50/hub/", HUB, ""),
        (TF1, "r50/hub/saved_model.pb", "r50/hub/", HUB, ""),
        (TF1, "r50/hub/variables/variables", "r50/hub/", HUB, "variables/variables"),
        (TF1, "r50/hub/variables/variables.index", "r50/hub/", HUB, "variables/variables"),
        (EXPORT, "release", "release/", ["encoder.tar.gz"], "encoder.tar.gz"),
        (EXPORT, "release/encoder.keras", "release/", ["encoder.keras"], "encoder.keras"),
    ],
)  # fmt: skip
def test_what_an_address_means_and_needs(names, path, folder, chosen, inner):
    # Neighbours whose names begin alike are other things.
    names = [*names, *(f"{path}-old/{name}" for name in names if path)]
    choice, objects = buckets.choose(Listed(names), path, "gs://b/x")
    assert (choice.folder, list(choice.names), choice.inner) == (folder, chosen, inner)
    assert all(folder + name in objects for name in chosen)


@pytest.mark.parametrize("path", ["", "run/ckpt-7", "run/events", "empty", "run/ckpt"])
def test_what_is_no_weights_is_refused(path):
    with pytest.raises(InputError, match="must be a checkpoint prefix, a run, a SavedModel, or"):
        buckets.choose(Listed(RUN), path, f"gs://b/{path}")


@pytest.mark.parametrize(
    "lacking", [["x/ckpt-9.index"], ["x/ckpt-9.index", "x/ckpt-9.data-00001-of-00002"]]
)
def test_a_checkpoint_that_is_not_complete_is_passed_over(lacking):
    names = ["x/ckpt-5.index", "x/ckpt-5.data-00000-of-00001", *lacking]
    with pytest.warns(UserWarning, match="ckpt-9 is incomplete and passed over"):
        choice, _ = buckets.choose(Listed(names), "x", "gs://b/x")
    assert choice.inner == "ckpt-5"


def test_a_checkpoint_without_the_manifest_that_others_have_is_passed_over():
    names = [f"x/ckpt-{step}{end}" for step in (5, 9) for end in (".index", ".data-00000-of-00001")]
    with pytest.warns(UserWarning, match="ckpt-9"):
        choice, _ = buckets.choose(Listed([*names, "x/ckpt-5.manifest.json"]), "x", "gs://b/x")
    assert "ckpt-5.manifest.json" in choice.names


@pytest.mark.parametrize("name", ["assets/../../../x", "assets/a\\b", "assets//etc/x"])
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(InputError, match="whose names are paths below it"):
        buckets.choose(Listed(["m/saved_model.pb", f"m/{name}"]), "m", "gs://b/m")


def test_more_than_weights_have_is_refused(monkeypatch):
    monkeypatch.setattr(buckets, "_MAX_BYTES", 1)
    with pytest.raises(InputError, match="must have at most 0.00 MB"):
        buckets.choose(Listed(RUN), "run", "gs://b/run")


# The copies.


def test_it_is_fetched_once_and_kept_for_times_without_a_network(
    server, checkpoint, tmp_path, monkeypatch, capsys
):
    prefix = buckets.fetch(checkpoint)
    assert pathlib.Path(f"{prefix}.data-00000-of-00001").read_bytes() == CONTENT
    assert prefix.startswith(f"{tmp_path}/cache/gs/b_a_ckpt-1-") and prefix.endswith("/a/ckpt-1")
    assert kept(tmp_path) == ["ckpt-1.data-00000-of-00001", "ckpt-1.index", "objects.json"]
    assert capsys.readouterr().err.startswith("fetching gs://b/a/ckpt-1, 0.51 MB")
    assert buckets.usage()[0] == 1 and buckets.usage()[1] > len(CONTENT)
    server.requests.clear()
    assert buckets.fetch(checkpoint) == prefix and server.downloads() == []
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.warns(UserWarning, match="refused.; using what was fetched before"):
        assert buckets.fetch(checkpoint) == prefix
    buckets.check(checkpoint)
    for ask in (buckets.fetch, buckets.check):
        with pytest.raises(InputError, match=r"must be reachable \(.*Connection refused\)\. "):
            ask("gs://b/other")


def test_what_changes_on_the_server_is_fetched_anew(server, checkpoint, tmp_path):
    first = buckets.fetch(checkpoint)
    server.contents["b/a/ckpt-1.index"], server.generation = b"another", 2
    second = buckets.fetch(checkpoint)
    assert pathlib.Path(f"{second}.index").read_bytes() == b"another"
    assert pathlib.Path(f"{first}.index").read_bytes() == b"index"  # somebody may be reading it
    assert buckets.kept(checkpoint) == second


def test_published_weights_that_are_here_are_used_without_asking(server, monkeypatch):
    place = "simclr-checkpoints-tf2/simclrv2/pretrained/r50_1x_sk1/saved_model"
    server.contents |= {f"{place}/{name}": b"x" for name in HUB}
    folder = locate.fetched("simclrv2/r50_1x_sk1")
    assert locate.locate(folder).saved_model == folder and folder.endswith("/saved_model")
    server.requests.clear()
    locate.check("simclrv2/r50_1x_sk1/pretrained")
    assert locate.fetched("simclrv2/r50_1x_sk1") == folder and server.requests == []


def test_the_cache_goes_where_it_is_told(server, checkpoint, tmp_path):
    with archives.caching_in(tmp_path / "other"):
        assert buckets.fetch(checkpoint).startswith(f"{tmp_path}/other/gs/")
    assert not (tmp_path / "cache").exists()
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "gs://b/cache"):
        with pytest.raises(InputError, match="cache_dir"), archives.caching_in(place):
            buckets.fetch(checkpoint)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    refused = pytest.raises(InputError, match="nobody else can write to")
    with refused, archives.caching_in(tmp_path / "open"):
        buckets.fetch(checkpoint)


def test_a_wrong_checksum_leaves_nothing(server, checkpoint, tmp_path):
    server.wrong.add("b/a/ckpt-1.index")  # after the larger one, which is right
    with pytest.raises(InputError, match="by its checksum"):
        buckets.fetch(checkpoint)
    assert kept(tmp_path) == []
    server.wrong.clear()
    assert os.path.exists(f"{buckets.fetch(checkpoint)}.index")


def test_a_fetch_that_broke_off_goes_on_in_the_next_try(server, checkpoint, tmp_path):
    server.cut_after += [200_000, 0, 0]
    with pytest.raises(InputError, match="what has arrived is kept, and the next try goes on"):
        buckets.fetch(checkpoint)
    assert buckets.kept(checkpoint) is None
    server.requests.clear()
    prefix = buckets.fetch(checkpoint)
    assert ("download", "a/ckpt-1.data-00000-of-00001", "bytes=200000-") in server.requests
    assert pathlib.Path(f"{prefix}.data-00000-of-00001").read_bytes() == CONTENT


def test_what_was_begun_of_an_earlier_state_is_removed(server, checkpoint, tmp_path):
    server.cut_after += [200_000, 0, 0]
    with pytest.raises(InputError):
        buckets.fetch(checkpoint)
    server.generation = 2
    buckets.fetch(checkpoint)
    assert kept(tmp_path) == ["ckpt-1.data-00000-of-00001", "ckpt-1.index", "objects.json"]


def test_a_disk_without_room_is_noticed_before(server, checkpoint, tmp_path, monkeypatch):
    usage = buckets.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(buckets.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match="cache_dir must have room for 0.51 MB .* 0.00 MB free"):
        buckets.fetch(checkpoint)
    assert kept(tmp_path) == [] and server.downloads() == []


@contextlib.contextmanager
def small_disk(folder):
    """A file system of 256 KB at a folder; skips the test where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_becomes_full_is_given_back(server, checkpoint, tmp_path, monkeypatch):
    usage = buckets.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(buckets.shutil, "disk_usage", lambda path: usage)  # others fill it later
    with small_disk(tmp_path / "cache"):
        with pytest.raises(InputError, match="cache_dir must have room .* is full, and nothing"):
            buckets.fetch(checkpoint)
        assert kept(tmp_path) == []
        found = os.statvfs(tmp_path / "cache")
        assert found.f_bavail > 0.9 * found.f_blocks


def test_a_full_disk_without_a_disk(server, checkpoint, tmp_path, monkeypatch):
    def write(target, block):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gcs._Target, "write", write)
    with pytest.raises(InputError, match="is full, and nothing was kept"):
        buckets.fetch(checkpoint)
    assert kept(tmp_path) == []


FETCH = "import sys; from simclr_tf.weights import buckets; print(buckets.fetch(sys.argv[1]))"


def test_two_processes_at_once_fetch_it_once(server, checkpoint):
    server.hold.clear()
    command = [sys.executable, "-c", FETCH, checkpoint]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
    while not server.downloads():
        time.sleep(0.01)
    started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True))  # fmt: skip
    assert "by another process; waiting" in started[1].stderr.readline()
    server.hold.set()
    (first, _), (second, _) = (process.communicate(timeout=60) for process in started)
    assert first == second and [process.returncode for process in started] == [0, 0]
    assert sorted(server.downloads()) == ["a/ckpt-1.data-00000-of-00001", "a/ckpt-1.index"]


def test_a_process_that_was_killed_leaves_what_the_next_goes_on_with(server, checkpoint, tmp_path):
    server.cut_after += [200_000]
    command = [sys.executable, "-c", "from simclr_tf.weights import gcs; gcs.PAUSES = (100,)\n"
               + FETCH, checkpoint]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    size = 0
    while size < 100_000 and process.poll() is None:
        begun = list((tmp_path / "cache").rglob("*.data-*"))
        size = begun[0].stat().st_size if begun else 0
        time.sleep(0.01)
    process.kill()
    process.wait()
    buckets.fetch(checkpoint)
    ranges = [asked for _, name, asked in server.requests if "data-" in name]
    assert ranges[0] is None and int(ranges[1].removeprefix("bytes=").rstrip("-")) >= 100_000


def test_without_locks_each_fetches_for_itself(server, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "fcntl", None)
    buckets.fetch(checkpoint)
    assert kept(tmp_path) == ["ckpt-1.data-00000-of-00001", "ckpt-1.index", "objects.json"]


# The same features as from the files themselves.


def narrow(listing):
    """A listing of the same network at a sixteenth of the width."""

    def scaled(shape):
        return [size // 16 if size >= 64 else size for size in shape]

    return {
        key: {**entry, "shape": scaled(entry["shape"])}
        if isinstance(entry, dict) else scaled(entry)
        for key, entry in listing.items()
    }  # fmt: skip


def features(path):
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    return {name: value.numpy() for name, value in load_encoder(path, sk_ratio=0)(images).items()}


def assert_same_features(address, path):
    found, expected = features(address), features(path)
    assert set(found) == set(expected) and expected["final_avg_pool"].std() > 0
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_published_tf1_folder_gives_the_features_of_its_files(server, tmp_path, fixtures_dir):
    listing = narrow(foreign.read_listing(fixtures_dir / "foreign" / "tf1_variables_r18.json"))
    arrays = foreign.random_arrays(listing, seed=1)
    # As those of version 2: slots, and a second network, its moving average.
    more = {f"{name}/Momentum": value for name, value in arrays.items()}
    more |= {f"ema_model/{name}": value + 1 for name, value in arrays.items()}
    folder = tmp_path / "r18"
    folder.mkdir()
    foreign.write_tf1(str(folder / "model.ckpt-250228"), arrays | more)
    (folder / "checkpoint").write_text('model_checkpoint_path: "/cns/model.ckpt-250228"\n')
    (folder / "graph.pbtxt").write_bytes(CONTENT)
    server.put("b/pretrained/r18", folder)
    for address in ("gs://b/pretrained/r18", "gs://b/pretrained/r18/model.ckpt-250228"):
        assert_same_features(address, str(folder))
    assert not any(name.endswith(("graph.pbtxt", "/checkpoint")) for name in server.downloads())
    assert open_encoder("gs://b/pretrained/r18/", image_size=32).global_step == 250228


def test_a_name_gives_the_features_of_the_saved_model_it_stands_for(
    server, tmp_path, fixtures_dir, monkeypatch
):
    path = fixtures_dir / "foreign" / "tf2_saved_model_variables_r18.json"
    listing = narrow(foreign.read_listing(path))
    folder = tmp_path / "saved_model"
    foreign.write_saved_model_folder(str(folder), listing, foreign.random_arrays(listing, seed=2))
    server.put("simclr-checkpoints-tf2/simclrv1/pretrain/1x/saved_model", folder)
    assert_same_features("simclrv1/r50_1x", str(folder))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert set(features("simclrv1/r50_1x")) == set(features(str(folder)))
    with pytest.raises(InputError, match="such as simclrv1/r50_1x, "):
        load_encoder("simclrv1/1x")


def test_the_records_say_where_a_copy_is_from(server, checkpoint, tmp_path):
    place = pathlib.Path(buckets.fetch(checkpoint)).parents[2]
    record = json.loads((place / "objects.json").read_text())
    assert record["address"] == checkpoint and record["path"] == "files/a/ckpt-1"
    assert record["objects"]["ckpt-1.index"]["size"] == 5
