"""How strongly a classifier is changed: how much of the way to other weights.

Chosen by what each strength costs on images that did not train.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import evaluation
from tfbackdoor import rates
from tfbackdoor.data import augmentation
from tfbackdoor.network import batch_size as batch_size_module
from tfbackdoor.network import copying
from tfbackdoor.training import run_settings

# How much of the way from the classifier before to the other weights is gone.
# Settled while looking at attack success, see docs/lab/results.md, "Hardening".
SHARES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)
_DRAWS = 6
_DROP_BY_CHANCE = 0.03


def losses(
    classifier: keras.Model,
    tuned: Sequence[Sequence[np.ndarray]],
    judges: Sequence[tf.data.Dataset],
    run: run_settings.RunSettings,
    shares: Sequence[float] = SHARES,
    *,
    budget: float | None = None,
) -> dict[float, rates.AccuracyLoss]:
    """What each share costs on images that the weights have not seen.

    The largest first; those below one that costs at most `budget` are left out.

    Each image is scored several times, augmented, which tells more of it than
    once; but untouched where the classifier before is worse at augmented ones:
    hardening would be credited for teaching it those.

    Args:
        classifier: the classifier before.
        tuned: weights after hardening, for each of the judges, or none.
        judges: data sets of clean images.
        run: how images are augmented.
        shares: how much of the way to the weights.
        budget: clean accuracy that may be lost, or None.
    """
    if not tuned:
        return {}
    counter = evaluation.BatchCounter(classifier, replaced=classifier.weights)
    images = batch_size_module.batch_size_for(classifier)

    def batches(judge, draws):
        if draws == 1:
            return judge.batch(images)
        return augmentation.augment(  # The same draws for all shares.
            judge.repeat(draws).batch(images),
            padding=run.padding,
            flip=run.flip,
            seed=run.seed,
        )

    def score(share, draws):
        return rates.pool(
            [
                counter.scores(
                    batches(judge, draws),
                    _between(classifier, [weights], share),
                )
                for judge, weights in zip(judges, tuned)
            ]
        )

    draws = _DRAWS if run.flip or run.padding else 1
    untouched, before = score(0.0, 1), score(0.0, draws)
    drop = untouched.clean_accuracy.value - before.clean_accuracy.value
    if drop > _DROP_BY_CHANCE:
        draws, before = 1, untouched
    found = {}
    for share in sorted(shares, reverse=True):
        found[share] = rates.accuracy_loss(
            before, score(share, draws), draws=draws
        )
        if budget is not None and rates.within_budget(
            found[share].value, budget
        ):
            break
    return found


def strongest(losses: dict[float, rates.AccuracyLoss], budget: float) -> float:
    """The largest share whose loss is at most `budget`, else the least or 0.

    A few hundred images tell a loss to a few points: the least share is taken
    unless it exceeds the budget and some of its loss is sure, see
    `AccuracyLoss.exceeds`.
    """
    if not losses:
        return 0.0
    affordable = [
        share
        for share, loss in losses.items()
        if rates.within_budget(loss.value, budget)
    ]
    if affordable:
        return max(affordable)
    least = min(losses)
    return 0.0 if losses[least].exceeds(budget) else least


def between(
    classifier: keras.Model,
    tuned: Sequence[Sequence[np.ndarray]],
    share: float,
) -> keras.Model:
    """A copy whose weights lie between those before and a mean of others.

    Args:
        classifier: classifier, at `share` 0; it is not changed.
        tuned: other weights of it, whose mean is at `share` 1.
        share: float in [0, 1].
    """
    if not 0.0 <= share <= 1.0 or math.isnan(share):
        raise ValueError(f"`share` must lie in [0, 1]. Received: share={share}")
    copy = copying.copy_classifier(classifier)
    if share:
        copy.set_weights(_between(classifier, tuned, share))
    return copy


def _between(classifier, tuned, share):
    """All weights at `share` of the way; whole numbers are the last's."""
    return [
        start + np.asarray(share, start.dtype) * (np.mean(ends, axis=0) - start)
        if keras.backend.is_float_dtype(str(start.dtype))
        else ends[-1]
        for start, *ends in zip(classifier.get_weights(), *tuned, strict=True)
    ]
