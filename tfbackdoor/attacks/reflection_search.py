"""Refool's search among reflections for those that a network learns best."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import refool
from tfbackdoor.network import compute_view


def choose_reflections(
    candidates: refool.Reflections,
    classifier: keras.Model,
    images,
    *,
    count: int,
    target: int,
    precision: str | None = None,
) -> refool.Reflections:
    """The `count` candidates that bring most `images` to the class `target`.

    One round of the authors' search (Liu et al. 2020, algorithm 1), which
    makes many. `classifier` was trained shortly on images with all candidates.

    Args:
        candidates: what to choose from.
        classifier: built Keras classifier.
        images: float32 in [0, 1], `(batch, height, width, channels)`, of
            other classes than the target and none that was poisoned.
        count: int > 0.
        target: int, the attacker's class.
        precision: of the forward passes, see `ComputeView`.
    """
    total = len(candidates.alphas)
    if not 0 < count <= total:
        raise ValueError(
            f"`count` must lie in 1 to {total}, the number of candidates. "
            f"Received: count={count}"
        )
    rates = success_rates(candidates, classifier, images, target, precision)
    best = np.sort(np.argsort(-rates, kind="stable")[:count])
    return dataclasses.replace(
        candidates,
        reflections=candidates.reflections[best],
        alphas=candidates.alphas[best],
    )


def success_rates(reflections, classifier, images, target, precision=None):
    """Share of `images` that each reflection brings to `target`, `(count,)`."""
    view = compute_view.ComputeView(classifier, precision)

    @tf.function
    def rates(layers, alphas):
        def rate(reflection):
            scores, _ = view(refool.mix(images, *reflection), training=False)
            is_target = tf.argmax(scores, axis=-1) == target
            return tf.reduce_mean(tf.cast(is_target, tf.float32))

        return tf.map_fn(rate, (layers, alphas), fn_output_signature=tf.float32)

    return rates(reflections.reflections, reflections.alphas).numpy()
