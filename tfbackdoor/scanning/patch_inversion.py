"""The smallest patch that turns images to each class, and how unusual it is."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.defenses import inversion
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.network import batch_size
from tfbackdoor.scanning import outliers

_LEAST_SPREAD = 0.25
_IMAGES_PER_CLASS = 8
_RANKING_SHARE_OF_STEPS = 1 / 6
_RANKING_SHARE = 0.05
_MOST_STAMPED = 512


def smallest_triggers(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    targets,
    *,
    steps: int,
    seed: int,
    precision: str | None,
    verbose="auto",
) -> inverted_triggers.InvertedTriggers:
    """The smallest trigger found for each target, see `TriggerInversion`.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched data set of clean `(image, label)` in [0, 1].
        targets: classes.
        steps: int > 0, batches of the search.
        seed: int, of batches and of the triggers' start.
        precision: of the forward passes, see `ComputeView`.
        verbose: Keras' verbosity.
    """
    groups = _search(
        classifier,
        clean,
        targets,
        steps=steps,
        seed=seed,
        precision=precision,
        verbose=verbose,
    )
    return inverted_triggers.concatenate(list(groups))


def rank_classes(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    classes: int,
    steps: int,
    seed: int,
    precision: str | None,
) -> np.ndarray:
    """All classes, the most easily reached first.

    A sixth of the steps of search for patches of at most 5 % of the pixels: the
    class that a backdoor targets is reached by such a patch far sooner than
    others.

    Args: see `smallest_triggers`.
    """
    groups = _search(
        classifier,
        clean,
        range(classes),
        steps=max(1, round(_RANKING_SHARE_OF_STEPS * steps)),
        seed=seed,
        precision=precision,
        verbose=0,
        penalty=0.0,
        max_share=_RANKING_SHARE,
    )
    success = np.concatenate([triggers.success for triggers in groups])
    return np.argsort(-success, kind="stable")


def anomaly_scores(sizes, success, references: int | None = None) -> np.ndarray:
    """How unusually small each class's trigger is.

    `(median - log size) / (1.4826 * median of the deviations of those below
    the median)`, the divisor at least 0.25: sizes vary by a quarter by chance.
    A trigger that did not succeed counts as the largest.

    Args:
        sizes: `(classes,)` floats > 0, pixels, such as `mean_sizes`.
        success: `(classes,)` floats in [0, 1].
        references: int, how many of the first classes tell what is usual;
            default all.
    """
    logs = np.log(np.maximum(sizes, 1e-3))
    logs = np.where(np.asarray(success) < 0.5, logs.max(), logs)
    return outliers.above_median(
        -logs, least_spread=_LEAST_SPREAD, references=references
    )


def _search(
    classifier,
    clean,
    targets,
    *,
    steps,
    seed,
    precision,
    verbose,
    **settings,
):
    """Yields triggers of all targets by groups, so that memory is bounded."""
    targets = list(targets)
    at_once = batch_size.batch_size_for(
        classifier, most=_MOST_STAMPED, training=True
    )
    images = min(_IMAGES_PER_CLASS, at_once)
    size = min(len(targets), max(1, at_once // images))
    search = inversion.TriggerInversion(
        classifier,
        _padded(targets[:size], size),
        seed=seed,
        precision=precision,
        **settings,
    )
    search.compile()
    batches = sampling.training_batches(
        clean, images, seed=seed, replacement=True
    )
    for first in range(0, len(targets), size):
        group = targets[first : first + size]
        if first:
            search.restart(_padded(group, size))
        search.fit(batches, steps_per_epoch=steps, verbose=verbose)
        yield search.triggers().first(len(group))


def _padded(targets, size):
    """The targets, the last one again until there are `size`."""
    return targets + targets[-1:] * (size - len(targets))
