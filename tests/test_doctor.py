import os
import shutil

import pytest

from simclr_tf import capacity, doctor, gpus


def test_what_it_shows(capsys, tmp_path):
    assert doctor.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for topic in ("Python", "tensorflow", "processor", "oneDNN", "GPUs", "memory", "runs"):
        assert f"\n{topic}:" in f"\n{out}"
    assert str(tmp_path) in out and out.endswith("Nothing is wrong.\n")


@pytest.mark.parametrize("words", [["nowhere"], ["--all"], ["a", "b"]])
def test_bad_words(words, capsys):
    assert doctor.main(words) == 2
    assert "FOLDER must be one folder that exists" in capsys.readouterr().err


def test_what_is_wrong(monkeypatch, tmp_path, capsys):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(capacity, "physical_bytes", lambda: 2**30)
    monkeypatch.setattr(gpus, "unused_gpu", lambda: "buy another")
    versions = {"tf-keras": "2.20.1", "tensorflow": "2.21.0", "tensorflow-hub": None}
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: versions.get(name, real(name))
                        if name in versions else real(name))  # fmt: skip
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert doctor.main([str(tmp_path)]) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("wrong: ")]
    for text in ("tensorflow-hub: pip install", "Keras: must be of one version", "GPUs: buy",
                 "memory: under 4 GiB", "runs: under 2 GiB", "oneDNN: training"):  # fmt: skip
        assert any(text in line for line in wrong), text


def test_the_file_system_is_that_of_the_longest_mount(monkeypatch, tmp_path):
    listing = tmp_path / "mounts"
    listing.write_text(
        f"a / ext4 rw 0 0\nb {tmp_path}/my\\040disk nfs4 rw 0 0\nc {tmp_path}/my tmpfs rw 0 0\n"
    )
    monkeypatch.setattr(doctor, "_MOUNTS", str(listing))
    assert doctor._file_system(f"{tmp_path}/my disk/runs") == "nfs4"
    assert doctor._file_system("/somewhere") == "ext4"
    monkeypatch.setattr(doctor, "_MOUNTS", "/nowhere")
    assert "unknown" in doctor._file_system("/somewhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    assert "can't be written" in doctor._disk("runs", str(tmp_path)).wrong


def test_what_is_kept_of_fetched_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    assert "/cache: 0 from buckets, 0.00 MB" in doctor._fetched().text
    assert not (tmp_path / "cache").exists()
    place = tmp_path / "cache" / "gs" / "b-1" / "2"
    place.mkdir(parents=True)
    (place / "objects.json").write_bytes(b"x" * 2_000_000)
    assert "/cache: 1 from buckets, 2.0 MB" in doctor._fetched().text
