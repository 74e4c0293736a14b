"""Crop, flip and Cutout on batches, inside the graph."""

import tensorflow as tf


def augment(
    batches: tf.data.Dataset,
    *,
    padding: int = 4,
    flip: bool = True,
    cutout_holes: int = 0,
    cutout_length: int = 9,
    seed: int = 0,
) -> tf.data.Dataset:
    """Random crop, horizontal flip and Cutout, as both papers train.

    Each epoch draws anew; the same seed draws the same epochs.

    Args:
        batches: batched data set of `(images, labels, ...)`, images
            `(batch, height, width, channels)`.
        padding: int >= 0, pixels of zeros on each side before the random crop
            back to the original size (4 in both papers); at most that size.
        flip: bool, whether to mirror every other image at random.
        cutout_holes: int >= 0, zeroed squares an image (1 in NAD).
        cutout_length: int > 0, their side in pixels (9 in NAD's paper, 3 in
            its code).
        seed: int.

    Returns:
        The same data set with augmented images.
    """
    if padding < 0 or cutout_holes < 0 or cutout_length < 1:
        raise ValueError(
            "`padding` and `cutout_holes` must be >= 0 and `cutout_length` "
            f">= 1. Received: padding={padding}, cutout_holes={cutout_holes}, "
            f"cutout_length={cutout_length}"
        )

    check_padding(padding, batches.element_spec[0].shape[1:3])

    def augment_batch(seeds, batch):
        images, *rest = batch
        seeds = tf.random.split(seeds, 3)
        if padding or flip:
            images = _crop_and_flip(images, padding, flip, seeds)
        if cutout_holes:
            images = _cutout(images, cutout_holes, cutout_length, seeds[2])
        return images, *rest

    seeds = tf.data.Dataset.random(
        seed=seed, rerandomize_each_iteration=True
    ).batch(2)
    return tf.data.Dataset.zip(seeds, batches).map(
        augment_batch, num_parallel_calls=tf.data.AUTOTUNE
    )


def check_padding(padding: int, image_size) -> None:
    """Raises ValueError where crops of a padded image could miss it.

    Args:
        padding: as `augment` takes it.
        image_size: `(height, width)`, None where it is not known.
    """
    sizes = [size for size in image_size if size]
    if sizes and padding > min(sizes):
        raise ValueError(
            f"`padding` must be at most the images' smaller side, {min(sizes)} "
            f"pixels, or crops miss them. Received: padding={padding}"
        )


def _crop_and_flip(images, padding, flip, seeds):
    """Each image's pixels by its own rows and columns, mirrored or not."""
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    columns = tf.broadcast_to(tf.range(width), [count, width])
    if flip:
        flipped = tf.random.stateless_uniform([count, 1], seeds[1]) < 0.5
        columns = tf.where(flipped, columns[:, ::-1], columns)
    if padding:
        offsets = tf.random.stateless_uniform(
            [2, count, 1], seeds[0], maxval=2 * padding + 1, dtype=tf.int32
        )
        margins = [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)]
        rows = offsets[0] + tf.range(height)
        images = tf.gather(tf.pad(images, margins), rows, axis=1, batch_dims=1)
        columns += offsets[1]
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _cutout(images, holes, length, seed):
    """Zeros squares whose centres are uniform over the image."""
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    centres = tf.random.stateless_uniform([2, count, holes, 1], seed)
    rows = _covered(centres[0], height, length)
    columns = _covered(centres[1], width, length)
    hole = rows[:, :, :, None] & columns[:, :, None, :]
    keep = ~tf.reduce_any(hole, axis=1)[..., None]
    return images * tf.cast(keep, images.dtype)


def _covered(centre, size, length):
    """Which of `size` positions a span of `length` about a centre covers."""
    first = tf.cast(centre * size, tf.int32) - length // 2
    positions = tf.range(size)
    return (positions >= first) & (positions < first + length)
