"""One pass over labelled images: their values, labels, and a random sample."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfbackdoor.data import class_numbers

_SAMPLED = 500
_PIXEL_LEVELS = 255.0
# Of [0, 1], what resizing and arithmetic may leave it by.
_ROUNDING = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Survey:
    """What one pass over labelled images found.

    Args:
        count: int, images read.
        low: float, the smallest pixel value.
        high: float, the largest.
        labels: the distinct labels, in order.
        sample: images and labels drawn from all of them alike, at most 500,
            in the order in which they were read.
    """

    count: int
    low: float
    high: float
    labels: list[int]
    sample: tuple[np.ndarray, np.ndarray]


def survey(batches: tf.data.Dataset, *, seed: int = 0) -> Survey:
    """Reads batches of `(images, labels)` once.

    The sample is drawn over the whole data set, whatever its order: the first
    images of sorted ones are all of one class.

    Args:
        batches: batched data set of `(images, labels)`.
        seed: int, of the sample.
    """
    rng = np.random.default_rng(seed)
    count, low, high, seen = 0, np.inf, -np.inf, set()
    kept, limit = [], 1.0
    for images, labels, *_ in batches.as_numpy_iterator():
        if not len(labels):
            continue
        # A minimum of anything and of NaN is NaN.
        low = np.minimum(low, images.min())
        high = np.maximum(high, images.max())
        seen.update(np.unique(labels).tolist())
        count += len(labels)
        # Those of the smallest of independent draws are a random sample.
        draws = rng.random(len(labels))
        kept += [
            (draws[i], images[i].copy(), labels[i])
            for i in np.flatnonzero(draws <= limit)
        ]
        kept, limit = _smallest(kept)
    sample = (
        np.array([image for _, image, _ in kept]),
        np.array([label for _, _, label in kept]),
    )
    return Survey(count, float(low), float(high), sorted(seen), sample)


def check(
    found: Survey, classes: int, *, name: str, several_classes: bool
) -> None:
    """Raises ValueError unless these are images that a classifier can take.

    Args:
        found: what a pass over them found.
        classes: int, of the classifier.
        name: what the data set is called in the message.
        several_classes: whether a single label is an error.
    """
    if not found.count:
        raise ValueError(f"`{name}` must hold images. Received: none.")
    if not (found.low >= 0.0 and found.high <= 1.0):
        raise ValueError(
            f"`{name}` must hold images in [0, 1]. Received: values from "
            f"{found.low:g} to {found.high:g}{_way_out(found)}"
        )
    if found.high < 1.5 / _PIXEL_LEVELS:
        raise ValueError(
            f"`{name}` must hold images in [0, 1], uint8 in [0, 255]. "
            f"Received: all but black ones, values from {found.low:g} to "
            f"{found.high:g} of 1; divide by 255 only once."
        )
    class_numbers.check_range(found.labels, classes, name)
    first, last = found.labels[0], found.labels[-1]
    if several_classes and first == last:
        raise ValueError(
            f"`{name}` must hold images of several classes. Received: images "
            f"of class {first} only."
        )


def _smallest(kept):
    """The rows of the smallest draws, in order, and the largest of these."""
    if len(kept) <= _SAMPLED:
        return kept, 1.0
    draws = [row[0] for row in kept]
    limit = np.partition(draws, _SAMPLED - 1)[_SAMPLED - 1]
    return [row for row in kept if row[0] <= limit], limit


def _way_out(found):
    """What to do with pixels of this range, where it can be told."""
    low, high = found.low, found.high
    if not (np.isfinite(low) and np.isfinite(high)):
        return "; some are no finite numbers."
    if low >= -_ROUNDING and high <= 1.0 + _ROUNDING:
        return "; clip them."
    if low >= -1.0 and high <= 1.0:
        return "; take (1 + x) / 2 of them."
    if low >= 0.0 and high <= _PIXEL_LEVELS:
        return "; divide them by 255, or give them as uint8."
    if low >= 0.0 and high < 2**16:
        return "; divide them by the largest that they can be."
    return "."
