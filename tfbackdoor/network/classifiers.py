"""What the classifier at hand is, and what it answers."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.files import messages
from tfbackdoor.network import batch_size
from tfbackdoor.network import facts
from tfbackdoor.network import graph
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
    size = batch_size.batch_size_for(classifier)
    return _in_batches(lambda x: _float_scores(classifier, x), images, size)


def compiled_scores(classifier: keras.Model) -> Callable:
    """As `scores_of`, a function of images alone, compiled for many of them.

    It is compiled when it is first called, and to be used at once: what the
    classifier computes with beside its variables stays as it was then. It
    raises ValueError where TensorFlow cannot compile the classifier, which all
    that this package does with it needs.
    """
    images = tf.TensorSpec((None, *image_shape(classifier)), tf.float32)
    compiled = tf.function(
        functools.partial(_float_scores, classifier),
        input_signature=[images],
        autograph=False,
    )
    size = batch_size.batch_size_for(classifier)

    @functools.cache
    def concrete():
        try:
            return compiled.get_concrete_function()
        except Exception as error:
            raise ValueError(
                "`classifier` must be a model that TensorFlow can compile, as "
                f"its `predict` does. Received: {classifier.name}, which fails "
                f"with: {messages.one_line(error, limit=300)}"
            ) from error

    return lambda images: _in_batches(concrete(), images, size)


def _float_scores(classifier, images):
    return keras.ops.cast(graph.call(classifier, images), "float32")


def _in_batches(function, images, size):
    images = keras.ops.convert_to_tensor(images)
    parts = [
        keras.ops.convert_to_numpy(function(images[start : start + size]))
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
