"""Labelled images of any form, read once and checked."""

import tensorflow as tf

from tfbackdoor.data import labelled
from tfbackdoor.data import sampling
from tfbackdoor.data import survey

_READ_AT_ONCE = 256


def checked_images(
    data,
    image_shape: tuple,
    classes: int,
    *,
    name: str = "clean",
    several_classes: bool = False,
    in_memory: bool = False,
    batch_size: int = _READ_AT_ONCE,
) -> tuple[tf.data.Dataset, survey.Survey]:
    """The images in form, and what a first pass over them found.

    Args:
        data, image_shape, classes, name: see `labelled.labelled_images`.
        several_classes: bool, whether images of a single class are refused.
        in_memory: bool, whether the images are read into memory.
        batch_size: int > 0, images that are read at once.

    Raises:
        TypeError: where `data` are of another kind.
        ValueError: where they are not such images and labels, cannot be read,
            or cannot be read again.
    """
    images = labelled.labelled_images(data, image_shape, classes, name=name)
    sampling.check_finite(images, name)
    with labelled.reading(name):
        if in_memory:
            images = sampling.in_memory(images)
        found = survey.survey(images.batch(batch_size))
        read_again = next(iter(images.take(1)), None)
    survey.check(found, classes, name=name, several_classes=several_classes)
    if read_again is None:
        raise ValueError(
            f"`{name}` must give its images each time that it is read. "
            "Received: a data set that gives none when it is read again."
        )
    return images, found
