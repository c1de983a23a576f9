"""How the files of a data set become pixels."""

from simclr_tf.data.reading import EXPORTED, FILES, STORED, Reading


def test_what_is_plain_for_tensorflow():
    assert STORED.is_plain and not FILES.is_plain and not EXPORTED.is_plain
    assert Reading(as_stored=True, channels=1).is_plain
    assert not Reading(as_stored=True, channels=4).is_plain
    assert not Reading(as_stored=True, dtype="uint16").is_plain
    assert FILES.with_python and not EXPORTED.with_python
