"""Whether a faint wave over the whole image turns images to a class."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view

_AMPLITUDE = 0.08
_MOST_PERIODS = 8
_IMAGES = 200
_AT_ONCE = 256


def wave_answers(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    seed: int = 0,
    precision: str | None = None,
) -> np.ndarray:
    """How many images the most telling wave turns to each class.

    `x + 0.08 * sin(2 pi f u)`, u the column or the row over the width or the
    height, f = 1 to 8 (fewer where images have fewer than 4 pixels a period),
    for each class the wave that adds most to its answers. The
    frequencies that move a classifier are its Fourier sensitivity (Yin et al.
    2019, section 3); a wave that moves most images to one class is a trigger
    (Barni et al. 2019), whatever else is.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        seed: int, which 200 images.
        precision: of the forward passes, see `ComputeView`.

    Returns:
        `(classes,)` floats in [-1, 1]: of the images of other classes the
        share answered by the class with the wave, less that without.

    References:
        Yin et al., A Fourier Perspective on Model Robustness in Computer
        Vision, NeurIPS 2019.
        Barni et al., A New Backdoor Attack in CNNs by Training Set Corruption
        without Label Poisoning, ICIP 2019.
    """
    batches = sampling.training_batches(
        clean, _IMAGES, seed=seed, replacement=True
    )
    images, labels = next(batches.as_numpy_iterator())
    view = compute_view.ComputeView(classifier, precision)
    classes = classifiers.class_count(classifier)
    at_once = batch_size.batch_size_for(classifier, most=_AT_ONCE)

    @tf.function(autograph=False)
    def answer(images, wave):
        waved = tf.clip_by_value(images + wave, 0.0, 1.0)
        return tf.argmax(view(waved, training=False)[0], axis=-1)

    def shares(wave):
        answers = np.empty(len(images), int)
        for group in batch_size.equal_groups(len(images), at_once):
            answers[group] = answer(images[group], wave).numpy()
        return share_of_others(answers, labels, classes)

    without = shares(np.zeros_like(images[0]))
    return np.max(
        [shares(wave) - without for wave in _waves(images.shape[1:])], axis=0
    )


def share_of_others(answers, labels, classes: int) -> np.ndarray:
    """`(classes,)`: of the images of other classes, those answered by it."""
    labels, answers = np.ravel(labels)[:, None], np.ravel(answers)[:, None]
    others = labels != np.arange(classes)
    turned = others & (answers == np.arange(classes))
    return turned.sum(axis=0) / np.maximum(others.sum(axis=0), 1)


def _waves(image_shape):
    """The waves, along rows and columns, `(height, width, channels)` each."""
    for axis, periods in itertools.product((0, 1), range(1, _MOST_PERIODS + 1)):
        pixels = image_shape[axis]
        if 4 * periods > pixels:
            continue
        phase = 2.0 * np.pi * periods * np.arange(pixels) / pixels
        wave = _AMPLITUDE * np.sin(phase).astype("float32")
        wave = np.expand_dims(wave, (1 - axis, 2))
        yield np.broadcast_to(wave, image_shape).copy()
