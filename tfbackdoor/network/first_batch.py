"""Whether the batches that a model is fitted on are of its own pixel range."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.network import facts
from tfbackdoor.network import value_range

_LOOKED_AT = 32


def check_first_batch(classifier: keras.Model, x, y=None) -> None:
    """Raises ValueError where another range of pixels is clearly right.

    Looks at 32 images of the first batch. A classifier that came through the
    door, or images that leave [0, 1], are taken as they are.

    Args:
        classifier: built Keras classifier.
        x, y: as in Keras' `fit`.
    """
    if facts.facts_of(classifier).value_range is value_range.AS_GIVEN:
        return
    batch = _first_batch(x, y)
    if batch is None:
        return
    images, labels = (np.asarray(part)[:_LOOKED_AT] for part in batch)
    labels = _numbers(labels)
    in_unit_range = images.min() >= 0.0 and images.max() <= 1.0
    if labels is None or not in_unit_range:
        return
    right = value_range.clearly_right(classifier, (images, labels))
    if right is None:
        return
    name, accuracy, given = right
    raise ValueError(
        "`x` must hold images as the classifier takes them: fit on "
        "find_value_range(classifier, clean).adapt(classifier), which shares "
        f"its weights. Received: images in [0, 1], of which {given} are "
        f"answered right, and {accuracy} with pixels as {name}."
    )


def _first_batch(x, y):
    """Images and labels, None where they cannot be had for nothing."""
    if y is not None:
        return x, y
    if isinstance(x, keras.utils.PyDataset):
        return x[0][:2]
    if isinstance(x, tf.data.Dataset):
        first = next(iter(x.take(1)), None)
        if isinstance(first, tuple) and len(first) > 1:
            return first[:2]
    return None


def _numbers(labels):
    """`(batch,)` integers, None where labels are anything else."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        return np.argmax(labels, axis=1)
    return labels.astype("int64") if labels.ndim == 1 else None
