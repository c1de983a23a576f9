import json
import os

import pytest

from simclr_tf import json_files
from simclr_tf.errors import InputError


def _refusal(call):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_what_is_written_is_read(tmp_path):
    content = {"a": [1, 2.5, None, True, {"ü": "\udcff"}], "n": -(2**63), "m": 2**64 - 1, "e": {}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert json_files.read_json(path) == content == json_files.find_json(path)
    path.write_bytes(b'\xef\xbb\xbf{"\xc3\xbc": 1}')  # as some editors begin a file
    assert json_files.read_json(path) == {"ü": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be JSON"),
        ("{", "must be JSON"),
        ("[1]", "an object"),
        ("3", "an object"),
        (b'{"a": "\xff"}', "UTF-8 (byte 7 is not)"),
        ('{"a": 1e999}', "not finite: 1e999"),
        ('{"a": [NaN]}', "not finite: NaN"),
        ('{"a": -Infinity}', "not finite: -Infinity"),
        ('{"a": 1' + "0" * 400 + "}", "more than 64 bits"),
        ('{"a": 1' + "0" * 100_000 + "}", "more than 64 bits"),
        ('{"a": 18446744073709551616}', "more than 64 bits"),
        ('{"a": 1, "b": 2, "a": 3}', "a is there twice"),
        ('{"a": ["b\\u0000c"]}', "NUL"),
        ('{"b\\u0000c": 1}', "NUL"),
        ("[" * 100_000, "at most 64 deep"),
        ('{"a": ' + "[" * 64 + "]" * 64 + "}", "at most 64 deep"),
    ],
)
def test_texts_of_another_kind_are_refused_in_one_line(text, said):
    message = _refusal(lambda: json_files.parse_json(text, "some.json"))
    assert message.startswith("some.json must be JSON") and said in message


def test_brackets_in_texts_are_no_nesting():
    content = {"a": "[" * 1000, "b": [[[1]]], "c": "\\u0000"}
    assert json_files.parse_json(json.dumps(content), "x") == content
    deepest = '{"a": ' + "[" * 63 + "1" + "]" * 63 + "}"
    assert json_files.parse_json(deepest, "x") == json.loads(deepest)


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path):
    def read(name, **limit):
        return _refusal(lambda: json_files.read_json(tmp_path / name, **limit))

    assert "no such file" in read("absent.json")
    assert json_files.find_json(tmp_path / "absent.json") is None
    assert "regular file" in read(".")
    os.mkfifo(tmp_path / "pipe.json")
    assert "regular file" in read("pipe.json")
    os.symlink("/dev/zero", tmp_path / "device.json")
    assert "regular file" in read("device.json")
    (tmp_path / "large.json").write_text(json.dumps({"a": "b" * 100}))
    assert "at most 50 bytes" in read("large.json", max_bytes=50)
    with open(tmp_path / "sparse.json", "wb") as file:
        file.truncate(10 * 2**30)
    assert f"at most {json_files.MAX_BYTES} bytes" in read("sparse.json")
    assert "can be read" in read("n" * 300)
    assert "can be read" in read("nul\0")


def test_fields_have_their_type():
    content = {"t": "x", "i": 3, "f": 0.5, "b": True, "l": ["a"], "o": {}, "n": None, "m": [1]}
    good = [("t", str), ("i", int), ("f", float), ("b", bool), ("l", list), ("o", dict)]
    for key, kind in good:
        assert json_files.field(content, key, kind, "r.json") == content[key]
    assert type(json_files.field(content, "i", float, "r.json")) is float
    assert json_files.texts(content, "l", "r.json") == ["a"]
    for key in ("n", "absent"):
        assert json_files.field(content, key, str, "r.json", None) is None
        assert json_files.texts(content, key, "r.json", ()) == ()
        assert f"as {key}" in _refusal(lambda key=key: json_files.field(content, key, str, "r"))
    for key, kind in [("i", str), ("b", int), ("f", int), ("b", float), ("i", bool), ("o", list)]:
        message = _refusal(lambda key=key, kind=kind: json_files.field(content, key, kind, "r", 7))
        assert message.startswith("r must have ") and f"as {key}. Received" in message
    for key in ("m", "t", "i"):
        message = _refusal(lambda key=key: json_files.texts(content, key, "r.json"))
        assert message.startswith(f"r.json must have a list of texts as {key}.")
