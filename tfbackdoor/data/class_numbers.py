"""Labels as their owner holds them, as the numbers of classes."""

import numpy as np
import tensorflow as tf

# What a label becomes that names no class; see `survey.check`.
NO_CLASS = -(2**31)
_WHOLE = 1e-6


def of_labels(labels):
    """Labels of a batch as int64 `(batch,)`.

    Args:
        labels: tensor or array, whole numbers of any type `(batch,)` or
            `(batch, 1)`, or one-hot `(batch, classes)`.

    Returns:
        Tensor; `NO_CLASS` for each label that is a fraction, or that is not
        one-hot.
    """
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 2 and labels.shape[1] != 1:
        numbers = tf.argmax(labels, axis=1, output_type=tf.int64)
        exact = tf.one_hot(numbers, labels.shape[1], dtype=tf.float64)
        names_one = tf.reduce_all(_near(labels, exact), axis=1)
    elif labels.dtype.is_floating:
        labels = tf.reshape(labels, [-1])
        numbers = tf.cast(tf.round(labels), tf.int64)
        names_one = _near(labels, tf.cast(numbers, tf.float64))
    else:
        return tf.cast(tf.reshape(labels, [-1]), tf.int64)
    return tf.where(names_one, numbers, tf.constant(NO_CLASS, tf.int64))


def are_numbers(spec) -> bool:
    """Whether a batch of labels is already what `of_labels` gives."""
    return spec.shape.rank == 1 and spec.dtype == tf.int64


def are_whole(spec) -> bool:
    """Whether the labels of a batch are whole numbers, one an image."""
    return spec.dtype.is_integer and tuple(spec.shape[1:]) in ((), (1,))


def check_kind(shape, dtype, classes: int, name: str) -> None:
    """Raises ValueError unless these are labels that `of_labels` reads.

    Args:
        shape: of one label.
        dtype: of TensorFlow.
        classes: int, how long a one-hot label is.
        name: what the data are called in the message.
    """
    numeric = dtype.is_integer or dtype.is_floating or dtype.is_bool
    if not (numeric and tuple(shape) in ((), (1,), (classes,))):
        raise ValueError(
            f"`{name}` must hold one label per image, a whole number below "
            f"{classes} or one-hot of length {classes}. Received: labels of "
            f"shape {tuple(shape)} and type {dtype.name}"
        )


def check_range(numbers, classes: int, name: str) -> None:
    """Raises ValueError unless all numbers are those of classes.

    Args:
        numbers: integers, what `of_labels` gave.
        classes: int.
        name: what the data are called in the message.
    """
    numbers = np.asarray(numbers)
    if not numbers.size:
        return
    first, last = numbers.min(), numbers.max()
    if first == NO_CLASS:
        raise ValueError(
            f"`{name}` must hold labels that each name one class: whole "
            "numbers, or one-hot. Received: fractions, or rows that are not "
            "one-hot."
        )
    if first < 0 or last >= classes:
        raise ValueError(
            f"`{name}` must hold labels of the classifier's {classes} classes, "
            f"0 to {classes - 1}. Received: labels {first} to {last}"
        )


def _near(values, exact):
    return tf.abs(tf.cast(values, tf.float64) - exact) < _WHOLE
