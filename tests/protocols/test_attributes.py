import functools

import tensorflow as tf

from simclr_tf.evaluation import attributes as measured
from simclr_tf.evaluation.encoders import from_model
from simclr_tf.protocols import attributes


def test_h_knows_what_z_has_lost(make_context):
    """The features h hold a corner pixel and the mean colour, z only the mean brightness."""

    def encode(images):
        mean = tf.reduce_mean(images, axis=(1, 2))  # (b, 3)
        spread = tf.math.reduce_std(images, axis=(1, 2))  # (b, 3)
        features = tf.concat([mean, spread, images[:, 0, 0], images[:, 0, -1]], axis=1)
        return {"final_avg_pool": features, "proj_head_output": tf.ones_like(mean[:, :1])}

    context = make_context(from_model(encode, 8), attribute_images=200)
    section = attributes.run(context)
    assert set(section.metrics) == {"color", "rotation", "noise", "sobel"}
    assert section.metrics["noise"]["h"] > 0.8 and section.metrics["sobel"]["h"] > 0.8
    assert section.metrics["noise"]["z"] < 0.6
    assert "g(h)" in section.rows[0].result and "chance 25.0 %" in section.rows[1].how


def test_without_a_projection_head_only_h_is_asked(make_context, monkeypatch):
    color = measured.ATTRIBUTES[:1]
    table_of_color = functools.partial(measured.attribute_table, attributes=color)
    monkeypatch.setattr(measured, "ATTRIBUTES", color)
    monkeypatch.setattr(measured, "attribute_table", table_of_color)
    encoder = from_model(lambda images: tf.reduce_mean(images, axis=(1, 2)), 8)
    section = attributes.run(make_context(encoder, attribute_images=24))
    assert "z" not in section.metrics["color"]
    assert len(section.notes) == 1
