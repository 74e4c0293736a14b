"""What the classifier at hand is, and whether images suit it."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import survey
from tfbackdoor.network import batch_size
from tfbackdoor.network import facts
from tfbackdoor.network import refusals


def check_classifier(classifier: keras.Model) -> None:
    """Raises, in one sentence, unless it maps one image to class scores.

    Raises:
        TypeError: where `classifier` is no Keras 3 model.
        ValueError: where it is not built, has several inputs or outputs, takes
            anything but float images of a fixed size, gives anything but one
            score a class, was quantized or computes channels first.
    """
    refusals.check_kind(classifier)
    refusals.check_layers(classifier)
    _check_input(classifier)
    refusals.check_scores(classifier)


def _check_input(classifier):
    shape, dtype = (
        image_shape(classifier),
        facts.facts_of(classifier).input_dtype,
    )
    if len(shape) == 3 and None in shape:
        raise ValueError(
            "`classifier` must take images (height, width, channels) of a "
            "fixed size: `image_size=` of load_classifier fixes it. "
            f"Received: input shape {shape}"
        )
    if len(shape) != 3:
        raise ValueError(
            "`classifier` must take images (height, width, channels) of a "
            "fixed size; purify, scan, defend and evaluate take images "
            f"without channels. Received: input shape {shape}"
        )
    if not dtype.startswith(("float", "bfloat")):
        raise ValueError(
            "`classifier` must take float images, through whose values "
            "gradients pass: purify, scan, defend and evaluate replace an "
            f"integer input. Received: an input of {dtype}"
        )


def image_shape(classifier: keras.Model) -> tuple:
    """`(height, width, channels)` of the images that `classifier` takes."""
    return facts.facts_of(classifier).image_shape


def class_count(classifier: keras.Model) -> int:
    """Number of classes that `classifier` tells apart."""
    return facts.facts_of(classifier).classes


def gives_logits(classifier: keras.Model) -> bool:
    """Whether the outputs are logits rather than probabilities.

    Told from the activation of the last layer: softmax gives probabilities,
    sigmoid does not (one per class, without a sum). Any other is told from
    the outputs on 16 images of noise: probabilities are at least 0 and sum to
    1, whatever range of images the classifier was trained on.
    """
    return facts.facts_of(classifier).gives_logits


def scores_of(classifier: keras.Model, images) -> np.ndarray:
    """The scores of images, float32 `(batch, classes)`, batch by batch."""
    images = keras.ops.convert_to_tensor(images)
    size = batch_size.batch_size_for(classifier)
    parts = [
        keras.ops.convert_to_numpy(
            keras.ops.cast(
                classifier(images[start : start + size], training=False),
                "float32",
            )
        )
        for start in range(0, len(images), size)
    ]
    return np.concatenate(parts)


def predicted_classes(classifier: keras.Model, images) -> np.ndarray:
    """The class that gets the highest score, `(batch,)` integers."""
    return np.argmax(scores_of(classifier, images), axis=-1)


def answers_of(
    classifier: keras.Model, images: tf.data.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """The predicted and the given class of each image, `(images,)` each.

    Args:
        classifier: built Keras classifier.
        images: unbatched data set of `(image, label)`, read in batches.
    """
    answers, given = [], []
    for batch, labels in images.batch(batch_size.batch_size_for(classifier)):
        answers.append(predicted_classes(classifier, batch))
        given.append(labels.numpy())
    return np.concatenate(answers), np.concatenate(given)


def log_probabilities(scores, from_logits: bool):
    """Logarithms of the probabilities of scores `(..., classes)`, float32."""
    if from_logits:
        return keras.ops.log_softmax(scores)
    return keras.ops.log(scores + keras.config.epsilon())


def cross_entropy(from_logits: bool) -> keras.losses.Loss:
    """Cross-entropy of integer labels with logits or probabilities."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def check_images(
    classifier: keras.Model,
    images: tf.data.Dataset,
    *,
    name: str = "clean",
    several_classes: bool = True,
) -> None:
    """Raises ValueError unless `images` suit `classifier`.

    Reads the whole data set once.

    Args:
        classifier: built Keras classifier.
        images: batched `tf.data.Dataset` of `(image, label)`: float images
            in [0, 1] of the classifier's shape, integer labels below its
            number of classes.
        name: what the data set is called in the message.
        several_classes: whether a single label is an error.
    """
    expected, classes = image_shape(classifier), class_count(classifier)
    spec = images.element_spec
    if not isinstance(spec, tuple) or len(spec) < 2:
        raise ValueError(
            f"`{name}` must yield (images, labels). Received: {spec}"
        )
    received = tuple(spec[0].shape[1:])
    if received != expected:
        raise ValueError(
            f"`{name}` must hold images of the classifier's shape {expected}. "
            f"Received: {received}"
        )
    found = survey.survey(images)
    survey.check(found, classes, name=name, several_classes=several_classes)
