"""Views of images that are told apart by their value: image i holds i everywhere."""

import tensorflow as tf

N = 23  # images


def value_view(image, seed):
    del seed
    return tf.cast(image[:1, :1], tf.float32)


def noise_view(image, seed):
    del image
    return tf.random.stateless_uniform((1, 1, 3), seed)
