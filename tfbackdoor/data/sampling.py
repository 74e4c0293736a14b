"""Splits, subsets and batches of a `tf.data` data set."""

import numpy as np
import tensorflow as tf

from tfbackdoor.data import tracks as tracks_module

_FINENESS = 2**31
_READ_AT_ONCE = 1024


def select(images: tf.data.Dataset, indices) -> tf.data.Dataset:
    """The elements of `images` at `indices`, in the order of `images`.

    Args:
        images: unbatched data set of known cardinality.
        indices: integer array of distinct positions.
    """
    total = cardinality(images)
    indices = np.asarray(indices, "int64")
    if len(indices) and not 0 <= indices.min() <= indices.max() < total:
        raise ValueError(
            f"`indices` must lie in 0 to {total - 1}. "
            f"Received: {indices.min()} to {indices.max()}"
        )
    kept = np.zeros(total, bool)
    kept[indices] = True
    kept_tensor = tf.constant(kept)
    selected = images.enumerate().filter(lambda i, _: kept_tensor[i])
    selected = selected.map(lambda _, element: element)
    selected = selected.apply(
        tf.data.experimental.assert_cardinality(kept.sum())
    )
    return selected.cache()


def split_images(
    images: tf.data.Dataset,
    sizes: list[int | float],
    *,
    seed: int = 0,
    tracks: np.ndarray | None = None,
) -> list[tf.data.Dataset]:
    """Disjoint random parts of `images`, at `split_positions`."""
    parts = split_positions(images, sizes, seed=seed, tracks=tracks)
    return [select(images, part) for part in parts]


def split_positions(
    images: tf.data.Dataset,
    sizes: list[int | float],
    *,
    seed: int = 0,
    tracks: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Positions, ascending, of disjoint random parts of `images`.

    The papers give 90 % of the training images to the attacker and draw the
    defender's 1 % (ANP, 500 images) or 5 % (NAD, 2,500) from the rest.

    Args:
        images: unbatched data set of known cardinality.
        sizes: for each part a number of images (int) or a share (float).
        seed: int.
        tracks: one an image, as `image_tracks` gives them, or None. With them
            no two parts share a track: each part but the last takes whole
            tracks of each class alike until it is full, the last draws its
            images from all tracks that are left.

    Raises:
        ValueError: where the parts are larger than the data set, or than what
            whole tracks leave.
    """
    total = cardinality(images)
    counts = [
        round(size * total) if isinstance(size, float) else size
        for size in sizes
    ]
    if min(counts) < 0 or sum(counts) > total:
        raise ValueError(
            f"`sizes` must be >= 0 and add up to at most {total} images. "
            f"Received: {sizes}"
        )
    rng = np.random.default_rng(seed)
    tracks = tracks_module.check(tracks, total)
    if tracks is None:
        drawn = rng.permutation(total)[: sum(counts)]
        parts = np.split(drawn, np.cumsum(counts)[:-1])
    else:
        parts = tracks_module.draw_parts(labels_of(images), tracks, counts, rng)
    return [np.sort(part) for part in parts]


def draw_clean(
    images: tf.data.Dataset,
    attacker_share: float,
    count: int,
    *,
    seed: int = 0,
    tracks: np.ndarray | None = None,
) -> dict:
    """The arguments `clean`, in memory, and `tracks` of a defense.

    Args:
        images: unbatched data set of known cardinality.
        attacker_share: float in [0, 1], what the attacker had of them.
        count: int, how many the defender draws of the rest.
        seed, tracks: see `split_positions`.
    """
    _, drawn = split_positions(
        images, [attacker_share, count], seed=seed, tracks=tracks
    )
    return {
        "clean": in_memory(select(images, drawn)),
        "tracks": None if tracks is None else tracks[drawn],
    }


def in_memory(images: tf.data.Dataset) -> tf.data.Dataset:
    """The same unbatched data set, read once and held as tensors.

    Its number of elements may be unknown, but must not be infinite.
    """
    check_finite(images)
    parts = list(images.batch(_READ_AT_ONCE).as_numpy_iterator())
    if not parts:
        return images.take(0)
    arrays = tuple(map(np.concatenate, zip(*parts)))
    return tf.data.Dataset.from_tensor_slices(arrays)


def check_finite(images: tf.data.Dataset, name: str = "images") -> None:
    """Raises ValueError on a data set that repeats for ever."""
    if images.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{name}` must have a known number of elements. Received: a data "
            "set that repeats for ever; take(count) ends it."
        )


def cardinality(images: tf.data.Dataset) -> int:
    """Number of elements; ValueError where it is infinite or unknown."""
    count = int(images.cardinality())
    if count < 0:
        raise ValueError(
            "`images` must have a known number of elements; see "
            "tf.data.experimental.assert_cardinality. "
            "Received: a data set of infinite or unknown cardinality."
        )
    return count


def labels_of(images: tf.data.Dataset) -> np.ndarray:
    """All labels of an unbatched data set, in order, int64."""
    batches = images.map(lambda image, label, *_: label).batch(4096)
    return np.concatenate(
        [np.zeros(0, "int64"), *batches.as_numpy_iterator()]
    ).astype("int64")


def training_batches(
    images: tf.data.Dataset,
    batch_size: int,
    *,
    seed: int = 0,
    replacement: bool = False,
    weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Shuffled batches, in another order each epoch.

    Args:
        images: unbatched data set of known cardinality.
        batch_size: int > 0, over all replicas.
        seed: int.
        replacement: bool, whether a batch is drawn with replacement from all
            images, endlessly (as ANP does), rather than epoch by epoch.
        weights: `(images,)` floats >= 0, how often each image is drawn with
            replacement, relative to the others; default all alike.
    """
    count = cardinality(images)
    if replacement:
        arrays = next(iter(images.batch(max(count, 1))))
        draws = tf.data.Dataset.random(
            seed=seed, rerandomize_each_iteration=True
        ).batch(batch_size, drop_remainder=True)
        position = _positions(count, weights)
        return draws.map(
            lambda draw: tuple(tf.gather(a, position(draw)) for a in arrays),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    shuffled = images.shuffle(
        max(count, 1), seed=seed, reshuffle_each_iteration=True
    )
    return shuffled.batch(batch_size)


def _positions(count, weights):
    """A function from random integers to positions of images."""
    if weights is None:
        return lambda draw: draw % count
    ends = np.cumsum(weights) / np.sum(weights)
    return lambda draw: tf.searchsorted(
        ends, tf.cast(draw % _FINENESS, tf.float64) / _FINENESS, side="right"
    )


def count_classes(images: tf.data.Dataset) -> int:
    """Number of classes of an unbatched data set: its largest label + 1."""
    labels = labels_of(images)
    if not len(labels):
        raise ValueError("`images` must hold images. Received: none.")
    return int(labels.max()) + 1
