"""The table of formats: sizes, features of whole batches, and the figures of each side."""

from __future__ import annotations

import numpy as np

from benchmarks import formats


def test_size_is_that_of_all_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    (tmp_path / "c").write_bytes(b"123")
    assert formats.size_of(tmp_path) == 8 and formats.size_of(tmp_path / "c") == 3


def test_embeddings_are_of_each_image_once():
    images = np.arange(70, dtype=np.float32).reshape(70, 1)
    sizes = []

    def run(batch):
        sizes.append(len(batch))
        return 2 * batch

    np.testing.assert_array_equal(formats._embed(run, images), 2 * images)
    assert set(sizes) == {formats.BATCH}


def test_the_table_has_deviation_and_accuracy(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    bank = rng.normal(0, 0.1, (60, 3)) + np.stack([1 - 2 * labels, 0 * labels, 0 * labels], 1)
    np.savez(tmp_path / "data.npz", train_label=labels, test_label=labels[:10])
    (tmp_path / "exports").mkdir()
    sides = {name: formats.SIDES[name] for name in (formats.REFERENCE, "TFLite 8 bit")}
    for name, sign in zip(sides, (1, -1), strict=True):
        (tmp_path / "exports" / sides[name][1]).write_bytes(b"0" * 2000)
        np.savez(formats.features_path(tmp_path, name), bank=bank, queries=sign * bank[:10])
    speeds = {formats.REFERENCE: [10.0, 30.0, 20.0], "TFLite 8 bit": [40.0, 40.0, 50.0]}
    first, second = formats.table(tmp_path, sides, speeds).splitlines()[2:]
    assert "| 2 | 20 (10 to 30) | 1.00 | 0.0e+00 | 100.0 % |" in first
    assert "| 40 (40 to 50) | 2.00 | 2.0e+00 | 0.0 % |" in second


def test_every_side_has_a_loader():
    assert {side[2] for side in formats.SIDES.values()} == set(formats.LOADERS)
