"""Networks and views that tests name on command lines."""

import tf_keras as keras


def tiny(image_size: int) -> keras.Model:
    """Two convolutions and a normalisation, in a nested model."""
    layers = keras.layers
    inner = keras.Sequential([layers.DepthwiseConv2D(3), layers.LayerNormalization()])
    images = keras.Input((image_size, image_size, 3))
    return keras.Model(images, inner(layers.Conv2D(8, 3, strides=2)(images)), name="tiny")


def dimmer(image):
    """A view of one's own."""
    return 0.9 * image
