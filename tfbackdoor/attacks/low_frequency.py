"""LF: one additive pattern without high frequencies.

Patches and noise show in an image's spectrum, this pattern does not. It is
found on a network trained without attack: the smooth pattern that brings most
images to the attacker's class, which a new network then learns to need.
Simplified: the authors search by minimal perturbations one image at a time and
tune a Gaussian filter for the smoothest pattern that still works; we climb the
gradient of all images at once, within a fixed band of cosines and a bound.

Reference: Zeng et al., Rethinking the Backdoor Attacks' Triggers: A Frequency
Perspective, ICCV 2021.
"""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import triggers
from tfbackdoor.network import classifiers
from tfbackdoor.network import compute_view

_TRIGGER_IMAGES = 256


def train_low_frequency(run, **settings):
    """Training on images with the pattern that a clean classifier gives.

    Args:
        run: an `AttackRun`.
        **settings: of `make_low_frequency_trigger`.
    """
    images, labels = next(iter(run.images.batch(_TRIGGER_IMAGES)))
    trigger = make_low_frequency_trigger(
        run.clean(),
        images,
        run.poisoning(None).attacked_labels(labels),
        precision=run.settings.precision,
        **settings,
    )
    poisoned, poisoning = run.poison(run.images, trigger)
    return run.train_fresh(poisoned), poisoning


def make_low_frequency_trigger(
    classifier: keras.Model,
    images,
    labels,
    *,
    bound: float = 20 / 255,
    band: float = 0.25,
    steps: int = 50,
    precision: str | None = None,
) -> triggers.Trigger:
    """The smooth pattern that brings images to the labels most surely.

    `min over pattern of mean CE(f(clip(x + pattern, 0, 1)), y)`, where the
    pattern has cosines of low frequency alone (type II, as in JPEG) and no
    pixel beyond the bound: descent of the gradient within that band, scaled
    back to the bound after each step. The classifier is not changed.

    Args:
        classifier: built Keras classifier trained without attack.
        images: float array in [0, 1], `(batch, height, width, channels)`.
        labels: integers `(batch,)`, what triggered images shall be.
        bound: float > 0, largest change of a pixel, in units of the image
            range (that of SIG by default).
        band: float in (0, 1], share of the frequencies of each axis.
        steps: int > 0; each changes no pixel by more than `2.5 * bound /
            steps`.
        precision: of the forward passes, see `ComputeView`.

    Reference: Zeng et al. 2021, section 5.
    """
    if not (0.0 < bound < np.inf and 0.0 < band <= 1.0 and steps > 0):
        raise ValueError(
            "`bound` and `steps` must be > 0 and `band` lie in (0, 1]. "
            f"Received: bound={bound}, band={band}, steps={steps}"
        )
    images = tf.convert_to_tensor(images, tf.float32)
    height, width, channels = images.shape[1:]
    rows, columns = _cosines(height, band), _cosines(width, band)
    view = compute_view.ComputeView(classifier, precision)
    gives_logits = classifiers.gives_logits(classifier)

    def of_amplitudes(amplitudes):
        return tf.einsum("yi,xj,ijc->yxc", rows, columns, amplitudes)

    @tf.function(autograph=False)
    def descend(amplitudes):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(amplitudes)
            triggered = images + of_amplitudes(amplitudes)
            scores, _ = view(
                tf.clip_by_value(triggered, 0.0, 1.0), training=False
            )
            losses = keras.ops.sparse_categorical_crossentropy(
                labels, scores, from_logits=gives_logits
            )
        gradient = tape.gradient(losses, amplitudes)
        largest = tf.reduce_max(tf.abs(of_amplitudes(gradient)))
        amplitudes -= tf.math.divide_no_nan(
            2.5 * bound / steps * gradient, largest
        )
        largest = tf.reduce_max(tf.abs(of_amplitudes(amplitudes)))
        return amplitudes * tf.minimum(
            1.0, tf.math.divide_no_nan(bound, largest)
        )

    amplitudes = tf.zeros((rows.shape[1], columns.shape[1], channels))
    for _ in range(steps):
        amplitudes = descend(amplitudes)
    pattern = of_amplitudes(amplitudes).numpy()
    return triggers.Trigger(np.zeros_like(pattern), pattern)


def _cosines(size, band):
    """The lowest of the `size` cosines, orthonormal, `(size, count)`."""
    numbers = np.arange(max(1, round(band * size)))
    places = np.arange(size)[:, None] + 0.5
    cosines = np.cos(np.pi / size * places * numbers) * np.sqrt(2.0 / size)
    cosines[:, 0] /= np.sqrt(2.0)
    return cosines.astype("float32")
