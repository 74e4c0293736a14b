"""Whatever holds images and labels, as a data set of pairs of them."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.files import messages

_IMAGE_KEYS = ("image", "images")
_LABEL_KEYS = ("label", "labels")


def as_pairs(data, name: str) -> tf.data.Dataset:
    """A data set of `(image, label)`, batched or not, of any data.

    Args:
        data: see `labelled.labelled_images`.
        name: what the data are called in the message.

    Raises:
        TypeError: where `data` are of another kind.
        ValueError: where they hold no images and labels.
    """
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError(
                f"`{name}` must have an end. Received: a PyDataset whose "
                "num_batches is None."
            )
        data = _of_batches([data[i] for i in range(data.num_batches)], name)
    if isinstance(data, tf.data.Dataset):
        return _of_dataset(data, name)
    if isinstance(data, dict) and _keys(data):
        data = _picked(data)
    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return _of_arrays(data[0], data[1], name)
    raise TypeError(
        f"`{name}` must be a tf.data.Dataset of (image, label), a pair of "
        "arrays (images, labels) or a keras.utils.PyDataset. Received: "
        f"{type(data).__name__}"
    )


def _keys(parts):
    """The keys of images and labels in a dict, None where it lacks one."""
    keys = [
        next((key for key in known if key in parts), None)
        for known in (_IMAGE_KEYS, _LABEL_KEYS)
    ]
    return None if None in keys else keys


def _picked(parts):
    """Images and labels, out of a dict that has both."""
    return tuple(parts[key] for key in _keys(parts))


def _of_batches(batches, name):
    """Arrays of all images and labels in a list of batches."""
    if not batches:
        raise ValueError(f"`{name}` must hold images. Received: none.")
    pairs = [
        _picked(batch) if isinstance(batch, dict) and _keys(batch) else batch
        for batch in batches
    ]
    columns = []
    for position, rank in ((0, 3), (1, 1)):
        column = [
            _array(pair[position], name)
            if isinstance(pair, (tuple, list)) and len(pair) > 1
            else None
            for pair in pairs
        ]
        if any(part is None or part.ndim < rank for part in column):
            raise ValueError(
                f"`{name}` must yield batches (images, labels) of arrays. "
                f"Received: {_described(batches[0])}"
            )
        columns.append(column)
    with _of_one_shape(name):
        return tuple(map(np.concatenate, columns))


def _described(batch):
    if isinstance(batch, dict):
        return f"a dict of {list(batch)}"
    if isinstance(batch, (tuple, list)):
        kinds = ", ".join(type(part).__name__ for part in batch)
        return f"({kinds})"
    return type(batch).__name__


def _of_dataset(data, name):
    spec = data.element_spec
    if isinstance(spec, dict) and _keys(spec):
        data = data.map(_picked)
        spec = data.element_spec
    if not isinstance(spec, (tuple, list)) or len(spec) < 2:
        raise ValueError(
            f"`{name}` must yield (images, labels). Received: {spec}"
        )
    if not all(isinstance(part, tf.TensorSpec) for part in spec[:2]):
        raise ValueError(
            f"`{name}` must yield dense tensors. Received: {spec[:2]}"
        )
    if len(spec) > 2:
        return data.map(lambda image, label, *_: (image, label))
    return data


def _of_arrays(images, labels, name):
    images, labels = _array(images, name), _array(labels, name)
    if not labels.ndim or images.ndim < 3 or len(images) != len(labels):
        raise ValueError(
            f"`{name}` must be a pair of images (count, height, width, "
            "channels) and as many labels. Received: shapes "
            f"{images.shape} and {labels.shape}"
        )
    return tf.data.Dataset.from_tensor_slices((images, labels))


def _array(part, name):
    """An array of numbers, also of a column of objects."""
    with _of_one_shape(name):
        array = np.asarray(part)
        return np.array(array.tolist()) if array.dtype == object else array


@contextlib.contextmanager
def _of_one_shape(name):
    """A context in which parts that make no array are said to be none."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a pair (images, labels) of arrays, the images "
            f"all of one shape. Received: {messages.one_line(error)}"
        ) from error
