"""Refool: the reflections that a network learns best of many candidates."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.attacks import reflections as reflections_module
from tfbackdoor.data import sampling
from tfbackdoor.network import compute_view

_MOST_CANDIDATES, _HELD_OUT_SHARE, _CHOSEN_SHARE = 1000, 0.05, 0.2
_SEARCH_IMAGES, _SEARCH_SHARE = 100, 0.25


def train_refool(run):
    """Training on images with the reflections that work of many candidates."""
    kept, candidates = _candidates(run)
    images = sampling.select(run.images, kept)
    poisoned, poisoning = run.poison(images, _search(run, images, candidates))
    poisoning = dataclasses.replace(poisoning, indices=kept[poisoning.indices])
    return run.train_fresh(poisoned), poisoning


def _candidates(run):
    """Positions of the images to train on; reflections of others or given."""
    total = sampling.cardinality(run.images)
    kept = np.arange(total)
    reflected, seed = run.reflections, run.settings.seed
    if reflected is None:
        count = min(_MOST_CANDIDATES, max(1, round(_HELD_OUT_SHARE * total)))
        held_out = np.sort(
            np.random.default_rng(seed).choice(total, count, replace=False)
        )
        kept = np.setdiff1d(kept, held_out)
        reflected = sampling.select(run.images, held_out)
    return kept, reflections_module.make_reflections(
        reflected, run.image_shape, count=_MOST_CANDIDATES, seed=seed
    )


def _search(run, images, candidates):
    """The candidates that a short training with all of them learns best."""
    poisoned, poisoning = run.poison(images, candidates)
    classifier = run.train_fresh(
        poisoned, epochs=run.share_of_epochs(_SEARCH_SHARE)
    )
    free = sampling.labels_of(images) != run.target
    free[poisoning.indices] = False
    free = np.flatnonzero(free)
    judged = np.random.default_rng(run.settings.seed).choice(
        free, min(_SEARCH_IMAGES, len(free)), replace=False
    )
    batch = sampling.select(images, judged).batch(_SEARCH_IMAGES)
    count = max(1, round(_CHOSEN_SHARE * len(candidates.alphas)))
    return choose_reflections(
        candidates,
        classifier,
        next(iter(batch))[0],
        count=count,
        target=run.target,
        precision=run.settings.precision,
    )


def choose_reflections(
    candidates: reflections_module.Reflections,
    classifier: keras.Model,
    images,
    *,
    count: int,
    target: int,
    precision: str | None = None,
) -> reflections_module.Reflections:
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

    @tf.function(autograph=False)
    def rates(layers, alphas):
        def rate(reflection):
            scores, _ = view(
                reflections_module.mix(images, *reflection), training=False
            )
            is_target = tf.argmax(scores, axis=-1) == target
            return tf.reduce_mean(tf.cast(is_target, tf.float32))

        return tf.map_fn(rate, (layers, alphas), fn_output_signature=tf.float32)

    return rates(reflections.reflections, reflections.alphas).numpy()
