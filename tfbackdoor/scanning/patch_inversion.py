"""The smallest patch that turns images to each class, and how unusual it is."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.data import sampling
from tfbackdoor.defenses import inversion
from tfbackdoor.defenses import inverted_triggers
from tfbackdoor.network import classifiers

_LEAST_SPREAD = 0.25
_MOST_STAMPED = 512


def smallest_triggers(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    steps: int,
    seed: int,
    precision: str | None,
    verbose,
) -> inverted_triggers.InvertedTriggers:
    """The smallest trigger found for each class, see `TriggerInversion`."""
    classes = classifiers.class_count(classifier)
    search = inversion.TriggerInversion(
        classifier, range(classes), seed=seed, precision=precision
    )
    search.compile()
    batch_size = int(np.clip(_MOST_STAMPED // classes, 8, 16))
    search.fit(
        sampling.training_batches(
            clean, batch_size, seed=seed, replacement=True
        ),
        steps_per_epoch=steps,
        verbose=verbose,
    )
    return search.triggers()


def anomaly_scores(sizes, success) -> np.ndarray:
    """How unusually small each class's trigger is.

    `(median - log size) / (1.4826 * median of the deviations of those below
    the median)`, the divisor at least 0.25: sizes vary by a quarter by chance.
    A trigger that did not succeed counts as the largest.

    Args:
        sizes: `(classes,)` floats > 0, pixels.
        success: `(classes,)` floats in [0, 1].
    """
    logs = np.log(np.maximum(sizes, 1e-3))
    logs = np.where(np.asarray(success) < 0.5, logs.max(), logs)
    below = np.median(logs) - logs
    spread = 1.4826 * np.median(below[below >= 0.0])
    return below / max(spread, _LEAST_SPREAD)
