"""Draws told by an image's own bytes: the same in any order and batch."""

import math

import numpy as np
import tensorflow as tf

_LEVELS = 255


def numbers_of(images):
    """A number for each image, a weighted sum over its bytes.

    Args:
        images: float32 in [0, 1], `(..., height, width, channels)`.

    Returns:
        int64 >= 0, `(...)`.
    """
    levels = tf.cast(tf.round(images * _LEVELS), tf.int64)
    factors = np.random.default_rng(0).integers(1, 1 << 20, images.shape[-3:])
    return tf.reduce_sum(levels * factors, [-3, -2, -1])


def uniform_of(images, shape):
    """Uniform draws in [0, 1) for each image, `(..., *shape)`."""
    numbers = numbers_of(images)
    leading = tf.shape(numbers)
    drawn = tf.map_fn(
        lambda number: tf.random.stateless_uniform(shape, [number, 0]),
        tf.reshape(numbers, [-1]),
        fn_output_signature=tf.float32,
    )
    # Without leading axes as well: an image alone.
    drawn = tf.reshape(drawn, [-1, math.prod(shape)])
    return tf.reshape(drawn, tf.concat([leading, shape], 0))
