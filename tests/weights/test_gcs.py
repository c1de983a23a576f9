"""Listing and downloading, from a server on this machine that breaks off, lies and refuses."""

import json
import re
import types

import pytest

from simclr_tf.errors import InputError
from simclr_tf.weights import gcs
from tests.weights.bucket_server import serving

CONTENT = bytes(range(256)) * 4000  # 1 MB


@pytest.fixture
def server(monkeypatch):
    """A server with one object; nobody waits, and no credentials of this machine count."""
    monkeypatch.setattr(gcs, "PAUSES", (0, 0))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with serving() as running:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.address)
        running.contents["b/folder/weights"] = CONTENT
        yield running


def weights():
    (found,) = gcs.Bucket("b").list_objects("folder/weights")
    return found


def download(path):
    arrived = []
    gcs.Bucket("b").download(weights(), str(path), arrived.append)
    return arrived


def ranges(server):
    return [asked for kind, _, asked in server.requests if kind == "download"]


def test_a_listing_over_several_pages(server):
    names = ["a/1", "a/2", "a/3", "a/b/4", "a/b/5", "a/b/6", "a/b/7", "ab", "c"]
    server.contents |= {f"c/{name}": name.encode() for name in [*names, "a/b/"]}
    bucket = gcs.Bucket("c")
    found = bucket.list_objects("a")
    assert [one.name for one in found] == names[:-1]  # "a/b/" is only a folder's mark
    assert [one.size for one in found] == [len(name) for name in names[:-1]]
    assert [one.name for one in bucket.list_objects("a/", delimiter="/")] == names[:3]
    assert bucket.list_objects("d") == []


def test_a_folder_with_too_many_objects(server, monkeypatch):
    monkeypatch.setattr(gcs, "MAX_OBJECTS", 3)
    server.contents |= {f"c/{number}": b"" for number in range(4)}
    with pytest.raises(InputError, match="at most 3 objects"):
        gcs.Bucket("c").list_objects("")


@pytest.mark.parametrize("md5_only", [False, True])
def test_an_object_arrives_whole_and_is_compared_with_its_checksum(server, tmp_path, md5_only):
    server.md5_only = md5_only
    arrived = download(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT and sum(arrived) == len(CONTENT)
    server.wrong.add("b/folder/weights")
    with pytest.raises(InputError, match="by its checksum; nothing of it was kept") as caught:
        download(tmp_path / "y")
    assert caught.value.received == "gs://b/folder/weights" and not (tmp_path / "y").exists()


def test_an_object_without_checksum_or_with_an_encoding_is_refused(server, monkeypatch):
    plain = type(server).metadata
    lacking = {"crc32c": None, "md5Hash": None}
    monkeypatch.setattr(type(server), "metadata", lambda s, key: plain(s, key) | lacking)
    with pytest.raises(InputError, match="a checksum in its metadata"):
        weights()
    coded = {"contentEncoding": "gzip"}
    monkeypatch.setattr(type(server), "metadata", lambda s, key: plain(s, key) | coded)
    with pytest.raises(InputError, match="without Content-Encoding: gzip"):
        weights()


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.cut_after += [300_000, 0, 200_000, 0]
    arrived = download(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT and sum(arrived) == len(CONTENT)
    assert ranges(server) == [None, *["bytes=300000-"] * 2, *["bytes=500000-"] * 2]


def test_after_failures_without_a_byte_what_arrived_stays_for_the_next_try(server, tmp_path):
    server.cut_after += [300_000, 0, 0]
    with pytest.raises(gcs.UnreachableError):
        download(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT[:300_000]
    server.requests.clear()
    arrived = download(tmp_path / "x")
    assert ranges(server) == ["bytes=300000-"] and sum(arrived) == len(CONTENT)
    assert (tmp_path / "x").read_bytes() == CONTENT
    server.requests.clear()
    download(tmp_path / "x")  # it is complete
    assert ranges(server) == []


@pytest.mark.parametrize("begun", [b"damaged", b"x" * (len(CONTENT) + 1), b"y" * len(CONTENT)])
def test_a_damaged_beginning_is_fetched_anew(server, tmp_path, begun):
    (tmp_path / "x").write_bytes(begun)
    arrived = download(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT and sum(arrived) == len(CONTENT)


def test_a_busy_server_is_asked_again(server):
    server.failures = 2
    assert weights().size == len(CONTENT)
    server.failures = 3
    with pytest.raises(gcs.UnreachableError, match="busy"):
        weights()


def test_what_is_not_there_or_changes_is_said(server, tmp_path):
    with pytest.raises(InputError, match="must be in a bucket that exists"):
        gcs.Bucket("absent").list_objects("x")
    found = weights()
    server.generation = 2
    with pytest.raises(InputError, match="must be there while it is fetched"):
        gcs.Bucket("b").download(found, str(tmp_path / "x"))


def test_without_a_network_nobody_waits(server, monkeypatch):
    clock = types.SimpleNamespace(sleep=lambda seconds: pytest.fail("it waits"))
    monkeypatch.setattr(gcs, "time", clock)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(gcs.UnreachableError, match=r"^.{0,80}Connection refused$"):
        gcs.Bucket("b").list_objects("x")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://nowhere.invalid")
    with pytest.raises(gcs.UnreachableError, match=r"^Failed to resolve 'nowhere.invalid'"):
        gcs.Bucket("b").list_objects("x")


def key_file(path, server):
    """A service account that gets its tokens from the server."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024)
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()  # fmt: skip
    path.write_text(json.dumps({
        "type": "service_account", "project_id": "p", "private_key_id": "1", "private_key": text,
        "client_email": "a@b.c", "client_id": "1", "token_uri": f"{server.address}/token",
    }))  # fmt: skip
    return str(path)


def test_own_credentials_count_where_a_bucket_is_not_public(server, tmp_path, monkeypatch):
    server.refused["b"] = "token"
    with pytest.raises(InputError, match="must be public, or you need credentials .gcloud auth"):
        weights()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key_file(tmp_path / "key.json", server))
    download(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    server.refused["b"] = "another token"
    with pytest.raises(InputError, match="must be readable with your credentials.*no access"):
        weights()


def test_credentials_are_not_sent_to_a_public_bucket(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key_file(tmp_path / "key.json", server))
    server.refused["another"] = "token"
    assert weights().size == len(CONTENT) and not server.authorized


@pytest.mark.parametrize("address", ["gs://", "gs:///x", "s3://b/x", "b/x"])
def test_addresses_have_a_bucket(address):
    with pytest.raises(InputError, match="must have the form gs://BUCKET/PATH"):
        gcs.split(address)
    assert gcs.split("gs://b") == ("b", "") and gcs.split("gs://b/x/y/") == ("b", "x/y")


def test_an_absent_client_is_noticed(monkeypatch):
    assert gcs.is_installed()
    monkeypatch.setitem(__import__("sys").modules, "google.cloud", None)
    assert not gcs.is_installed()


def test_reasons_are_one_line():
    assert re.fullmatch(r"x{160}\.\.\.", gcs._reason(OSError("x" * 200)))
    assert gcs._reason(OSError(OSError("a\nb"))) == "a b"
