"""Whether what a model is fitted on suits it: its pixels and its labels."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import class_numbers
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
    if facts.facts_of(classifier).is_admitted:
        return
    batch = _first_batch(x, y)
    if batch is None:
        return
    images, labels = (np.asarray(part)[:_LOOKED_AT] for part in batch)
    in_unit_range = images.min() >= 0.0 and images.max() <= 1.0
    if labels.ndim not in (1, 2) or not in_unit_range:
        return
    labels = class_numbers.of_labels(labels).numpy()
    if labels.min() == class_numbers.NO_CLASS:
        return  # Soft labels, which a loss of one's own may take.
    class_numbers.check_range(labels, facts.facts_of(classifier).classes, "y")
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


def check_labels(classifier: keras.Model, x, y=None) -> None:
    """Raises ValueError where labels are not those of classes.

    Looks at all of `y`, else at the first batch. Whole numbers in a data set
    are taken as they are: another iterator may change what a fit draws.

    Args:
        classifier: built Keras classifier.
        x, y: as in Keras' `fit`.
    """
    if y is None and isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        if not isinstance(spec, tuple) or class_numbers.are_whole(spec[1]):
            return
    batch = _first_batch(x, y)
    if batch is None:
        return
    labels, classes = np.asarray(batch[1]), facts.facts_of(classifier).classes
    class_numbers.check_kind(
        labels.shape[1:], tf.as_dtype(labels.dtype), classes, "y"
    )
    numbers = class_numbers.of_labels(labels)
    class_numbers.check_range(numbers, classes, "y")


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
