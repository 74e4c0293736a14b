"""Random perturbations of the kinds that triggers are made of."""

import math

import tensorflow as tf

# Shares of the images that get each kind; the rest stays as it is.
_SHARES = {"reflection": 0.25, "sinusoid": 0.1, "noise": 0.15, "patch": 0.15}
_REFLECTION_ALPHA, _NOISE_ALPHA = (0.1, 0.5), (0.05, 0.25)
_AMPLITUDE, _MOST_WAVES = (0.02, 0.1), 8
# Sides of patches, as shares of the height and the width: 2 to 6 pixels of 32.
_PATCH_SIDE = (1 / 16, 3 / 16)
_BLUR = 5


def perturb_randomly(images: tf.Tensor, seed) -> tf.Tensor:
    """Perturbs two thirds of the images at random.

    A classifier that is trained on them with their true labels learns to
    answer by what is in an image in spite of a reflection of another image of
    the batch (25 % of all images, blurred or doubled), a sinusoid (10 %), a
    blend of noise (15 %) or a patch of noise or of one colour (15 %).

    Args:
        images: `(batch, height, width, channels)` in [0, 1].
        seed: two integers; the same draw the same.
    """
    choice, *seeds = tf.unstack(tf.random.split(seed, 1 + len(_MAKERS)))
    drawn = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], choice)
    perturbed, start = images, 0.0
    for kind_seed, (kind, make) in zip(seeds, _MAKERS.items()):
        end = start + _SHARES[kind]
        chosen = (drawn >= start) & (drawn < end)
        perturbed = tf.where(chosen, make(images, kind_seed), perturbed)
        start = end
    return tf.clip_by_value(perturbed, 0.0, 1.0)


def _reflect(images, seed):
    """Another image of the batch seen in a pane of glass."""
    blurred_or_doubled, alphas = tf.unstack(tf.random.split(seed))
    others = tf.roll(images, 1, axis=0)
    blurred = tf.nn.avg_pool2d(others, _BLUR, 1, "SAME")
    shift = max(1, images.shape[1] // 16)
    doubled = (others + tf.roll(others, [shift, shift], [1, 2])) / 2.0
    is_blurred = _uniform(images, blurred_or_doubled) < 0.5
    reflection = tf.where(is_blurred, blurred, doubled)
    return _blend(images, reflection, alphas, _REFLECTION_ALPHA)


def _wave(images, seed):
    """A sinusoid over the rows or over the columns."""
    seeds = tf.unstack(tf.random.split(seed, 4))
    height, width = images.shape[1:3]
    rows = tf.reshape(
        tf.range(height, dtype=tf.float32) / height, [1, -1, 1, 1]
    )
    columns = tf.reshape(
        tf.range(width, dtype=tf.float32) / width, [1, 1, -1, 1]
    )
    along = tf.where(_uniform(images, seeds[0]) < 0.5, rows, columns)
    waves = tf.floor(_uniform(images, seeds[1], 1.0, _MOST_WAVES + 1.0))
    phase = _uniform(images, seeds[2])
    amplitude = _uniform(images, seeds[3], *_AMPLITUDE)
    return images + amplitude * tf.sin(2.0 * math.pi * (waves * along + phase))


def _add_noise(images, seed):
    """A blend of white noise."""
    noise, alphas = tf.unstack(tf.random.split(seed))
    noise = tf.random.stateless_uniform(tf.shape(images), noise)
    return _blend(images, noise, alphas, _NOISE_ALPHA)


def _patch(images, seed):
    """A rectangle anywhere, of noise or of one colour."""
    *sides, noise, colour, which = tf.unstack(tf.random.split(seed, 7))
    rows = _covered(images, 1, sides[:2])
    columns = _covered(images, 2, sides[2:])
    noise = tf.random.stateless_uniform(tf.shape(images), noise)
    shape = tf.concat([tf.shape(images)[:1], [1, 1], tf.shape(images)[3:]], 0)
    colour = tf.random.stateless_uniform(shape, colour)
    content = tf.where(_uniform(images, which) < 0.5, noise, colour)
    return tf.where(rows & columns, content, images)


def _covered(images, axis, seeds):
    """Which positions along an axis each image's patch covers."""
    size = images.shape[axis]
    side = tf.round(_uniform(images, seeds[0], *_PATCH_SIDE) * size)
    side = tf.maximum(side, 1.0)
    first = tf.floor(_uniform(images, seeds[1]) * (size - side + 1.0))
    shape = [1, -1, 1, 1] if axis == 1 else [1, 1, -1, 1]
    positions = tf.reshape(tf.range(size, dtype=tf.float32), shape)
    return (positions >= first) & (positions < first + side)


def _blend(images, others, seed, alphas):
    alpha = _uniform(images, seed, *alphas)
    return (1.0 - alpha) * images + alpha * others


def _uniform(images, seed, low=0.0, high=1.0):
    """One number per image, `(batch, 1, 1, 1)`."""
    return tf.random.stateless_uniform(
        [tf.shape(images)[0], 1, 1, 1], seed, minval=low, maxval=high
    )


_MAKERS = {
    "reflection": _reflect,
    "sinusoid": _wave,
    "noise": _add_noise,
    "patch": _patch,
}
