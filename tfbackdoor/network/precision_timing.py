"""Whether a step in bfloat16 is faster than one in float32 on this machine."""

import functools
import time

import tensorflow as tf

_IMAGES, _SIDE, _CHANNELS = 64, 32, 16
_REPEATS = 5


@functools.cache
def bfloat16_is_faster() -> bool:
    """Times two convolutions and their gradients, once a process.

    Instructions for bfloat16 do not tell: emulated ones are slower than
    float32. It takes well under a second.
    """
    steps = {dtype: _step(dtype) for dtype in (tf.float32, tf.bfloat16)}
    for step in steps.values():
        step()  # Traced.
    # In turns, so that other work on the machine meets both.
    seconds = [
        {dtype: _seconds(step) for dtype, step in steps.items()}
        for _ in range(_REPEATS)
    ]
    quickest = {dtype: min(each[dtype] for each in seconds) for dtype in steps}
    return quickest[tf.bfloat16] < quickest[tf.float32]


def _step(dtype):
    """A function that takes the gradients of two small convolutions."""
    images = tf.ones([_IMAGES, _SIDE, _SIDE, _CHANNELS], dtype)
    kernel = tf.ones([3, 3, _CHANNELS, _CHANNELS], dtype)

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            outputs = images
            for _ in range(2):
                outputs = tf.nn.relu(tf.nn.conv2d(outputs, kernel, 1, "SAME"))
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
        first, second = tape.gradient(loss, [images, kernel])
        return tf.reduce_sum(first) + tf.reduce_sum(second)

    return gradients


def _seconds(step):
    start = time.perf_counter()
    step().numpy()
    return time.perf_counter() - start
