"""What the classifier at hand is, and whether images suit it."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.network import structure


def check_classifier(classifier: keras.Model) -> None:
    """Raises ValueError unless `classifier` maps one image to class scores."""
    if not isinstance(classifier, keras.Model):
        raise TypeError(
            "`classifier` must be a keras.Model. "
            f"Received: {type(classifier).__name__}"
        )
    if not classifier.built:
        raise ValueError(
            "`classifier` must be built: call it once on a batch of images. "
            f"Received: {classifier.name}, which has no variables yet."
        )
    shape = image_shape(classifier)
    if len(shape) != 3 or None in shape:
        raise ValueError(
            "`classifier` must take images (height, width, channels) of a "
            f"fixed size. Received: input shape {shape}"
        )
    scores = _score_shape(classifier)
    if len(scores) != 2 or scores[1] < 2:
        raise ValueError(
            "`classifier` must give one score a class, shape (batch, classes) "
            f"with classes >= 2. Received: output shape {scores}"
        )


def image_shape(classifier: keras.Model) -> tuple:
    """`(height, width, channels)` of the images that `classifier` takes."""
    if getattr(classifier, "inputs", None):
        shape = classifier.input_shape
    else:
        shape = (classifier.get_build_config() or {}).get("input_shape", ())
        if not any(isinstance(size, (list, tuple)) for size in shape):
            shape = tuple(shape)  # A list where it was read from a file.
    if isinstance(shape, list):
        raise ValueError(
            f"`classifier` must have one input. Received: {len(shape)} inputs."
        )
    return tuple(shape[1:])


def class_count(classifier: keras.Model) -> int:
    """Number of classes that `classifier` tells apart."""
    return _score_shape(classifier)[1]


def gives_logits(classifier: keras.Model) -> bool:
    """Whether the outputs are logits rather than probabilities.

    Told from the activation of the last layer: softmax gives probabilities,
    sigmoid does not (a score a class, without a sum). Any other is told from
    the outputs on 16 images of noise: probabilities are at least 0 and sum to
    1, whatever range of images the classifier was trained on.
    """
    last = structure.output_layer(classifier)
    activation = getattr(last, "activation", None)
    if activation is keras.activations.softmax:
        return False
    if activation is keras.activations.sigmoid:
        return True
    rng = np.random.default_rng(0)
    images = rng.random((16, *image_shape(classifier)), "float32")
    scores = keras.ops.convert_to_numpy(classifier(images, training=False))
    scores = scores.astype("float64")
    is_distribution = np.all(scores >= 0.0) and np.allclose(
        scores.sum(axis=1), 1.0, atol=1e-2
    )
    return not is_distribution


def predicted_classes(classifier: keras.Model, images) -> np.ndarray:
    """The class that gets the highest score, `(batch,)` integers."""
    scores = classifier(images, training=False)
    return np.argmax(keras.ops.convert_to_numpy(scores), axis=-1)


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
    seen = set()
    for batch, labels, *_ in images:
        low, high = float(tf.reduce_min(batch)), float(tf.reduce_max(batch))
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"`{name}` must hold images in [0, 1]. Received: values from "
                f"{low:g} to {high:g}"
            )
        seen.update(np.unique(labels.numpy()).tolist())
    if not seen:
        raise ValueError(f"`{name}` must hold images. Received: none.")
    if min(seen) < 0 or max(seen) >= classes:
        raise ValueError(
            f"`{name}` must hold labels of the classifier's {classes} classes, "
            f"0 to {classes - 1}. Received: labels {min(seen)} to {max(seen)}"
        )
    if several_classes and len(seen) == 1:
        raise ValueError(
            f"`{name}` must hold images of several classes. Received: images "
            f"of class {seen.pop()} only."
        )


def _score_shape(classifier):
    """The shape of the scores of one image; of all kinds of model alike."""
    image = np.zeros((1, *image_shape(classifier)), "float32")
    scores = classifier(image, training=False)
    return tuple(getattr(scores, "shape", ()))
