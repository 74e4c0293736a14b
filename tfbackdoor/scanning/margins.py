"""The largest margin by which a classifier answers each class."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.network import batch_size
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view
from tfbackdoor.network import structure

_IMAGES, _FEW_CLASSES = 16, 20
_STEPS = 20
_RATE = 0.1
_MOST_IMAGES = 512
_FAR = 1e9
_LEAST_PROBABILITY = 1e-37


def largest_margins(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    seed: int = 0,
    precision: str | None = None,
) -> np.ndarray:
    """How far gradient ascent takes images into each class.

    `max over x in [0, 1] of f_k(x) - max over j != k of f_j(x)`: a class that
    a backdoor targets is answered with a larger margin than others, whatever
    the trigger is, since training on a trigger makes it (Wang et al. 2024,
    eq. 1). Logits: a softmax at the end is taken off, or where that cannot be
    done, logarithms of probabilities stand for them, which end at 85.

    Unlike the authors' 300 steps from 30 random images and the largest of the
    30, these are 20 steps along the gradient's sign, 0.1 falling to 0, from 16
    clean images (8 of more than 20 classes), and the median of the 16.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        seed: int, of the images.
        precision: of the forward passes, see `ComputeView`.

    Returns:
        `(classes,)` floats, differences of logits.

    Reference: Wang et al., MM-BD: Post-Training Detection of Backdoor Attacks
    with Arbitrary Backdoor Pattern Types Using a Maximum Margin Statistic,
    IEEE S&P 2024.
    """
    classes = classifiers.class_count(classifier)
    count = _IMAGES if classes <= _FEW_CLASSES else _IMAGES // 2
    batches = sampling.training_batches(
        clean, count, seed=seed, replacement=True
    )
    images, _ = next(batches.as_numpy_iterator())
    at_once = batch_size.batch_size_for(
        classifier, most=_MOST_IMAGES, training=True
    )
    climb = _ascent(classifier, precision)
    wanted_of, start_of = np.divmod(np.arange(classes * count), count)
    margins = np.empty(classes * count)
    for group in batch_size.equal_groups(classes * count, at_once):
        wanted, start = wanted_of[group], start_of[group]
        margins[group] = _climbed(climb, images[start], wanted)
    return np.median(margins.reshape(classes, count), axis=1)


def _climbed(climb, images, wanted):
    """The margins that images reach."""
    images = tf.constant(images)
    for step in range(_STEPS):
        rate = _RATE * (1.0 - step / _STEPS)
        _, images = climb(images, wanted, tf.constant(rate))
    margins, _ = climb(images, wanted, tf.constant(0.0))
    return margins.numpy()


def _ascent(classifier, precision):
    """A step of images towards classes: their margins, and the images moved."""
    view = compute_view.ComputeView(classifier, precision)
    gives_logits = classifiers.gives_logits(classifier) or _to_logits(view)

    def margins_of(images, wanted):
        scores, _ = view(images, training=False)
        if not gives_logits:
            scores = tf.math.log(tf.maximum(scores, _LEAST_PROBABILITY))
        own = tf.one_hot(wanted, scores.shape[-1], dtype=scores.dtype)
        others = tf.reduce_max(scores - _FAR * own, axis=-1)
        return tf.reduce_sum(scores * own, axis=-1) - others

    @tf.function(autograph=False)
    def climb(images, wanted, rate):
        with tf.GradientTape() as tape:
            tape.watch(images)
            margins = margins_of(images, wanted)
        way = tf.sign(tape.gradient(margins, images))
        return margins, tf.clip_by_value(images + rate * way, 0.0, 1.0)

    return climb


def _to_logits(view):
    """Whether a view's softmax at the end could be taken off, and is."""
    if view.model is view.classifier:
        return False
    last = structure.output_layer(view.model)
    while isinstance(last, keras.Model):
        last = structure.output_layer(last)
    if getattr(last, "activation", None) is not keras.activations.softmax:
        return False
    last.activation = keras.activations.linear
    return True
