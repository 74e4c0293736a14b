"""Labelled images of any form, read as a classifier takes them, and checked."""

import keras
import tensorflow as tf

from tfbackdoor.data import checked
from tfbackdoor.data import survey
from tfbackdoor.network import batch_size
from tfbackdoor.network import facts


def image_size(pairs: tf.data.Dataset) -> tuple | None:
    """`(height, width)` of images with channels, as far as they are known."""
    shape = pairs.element_spec[0].shape
    return tuple(shape[-3:-1]) if shape.rank and shape.rank > 2 else None


def read_images(
    classifier: keras.Model,
    pairs: tf.data.Dataset,
    name: str,
    *,
    several_classes: bool = False,
    in_memory: bool = False,
) -> tuple[tf.data.Dataset, survey.Survey]:
    """The images in form, and what a first pass over them found.

    Args:
        classifier: of images of a fixed size, one score per class.
        pairs: what `pairs.as_pairs` made of them.
        name: what the data are called in messages.
        several_classes: bool, whether images of a single class are refused.
        in_memory: bool, whether the images are read into memory.

    Raises:
        ValueError: where they are not images and labels of the classifier.
    """
    known = facts.facts_of(classifier)
    return checked.checked_images(
        pairs,
        known.image_shape,
        known.classes,
        name=name,
        several_classes=several_classes,
        in_memory=in_memory,
        batch_size=batch_size.batch_size_for(classifier),
    )
