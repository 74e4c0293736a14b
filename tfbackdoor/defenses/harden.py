"""Hardening as strong as a budget of clean accuracy allows."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import evaluation
from tfbackdoor import rates
from tfbackdoor.defenses import hardening
from tfbackdoor.defenses import pruning
from tfbackdoor.defenses import result
from tfbackdoor.network import batch_size as batch_size_module
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers

# How much of the way from the classifier before to the hardened one is gone.
# Settled while looking at attack success, see docs/lab/results.md, "Hardening".
_SHARES = (0.7, 0.6, 0.5, 0.4, 0.3)
_GENTLER = (1.0, 0.1, 0.01)
_WEIGHT_DECAY = 5e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Hardened:
    """A hardened classifier, and how strongly it was hardened.

    Args:
        classifier: the hardened copy.
        share: float in [0, 1], how much of the way from the weights before to
            those of `Hardening` was gone; 0 where no strength was affordable.
        learning_rate: float > 0, the last one that was tried.
        loss: what the share cost in the cross-validation, or, where it is 0,
            what the cheapest would have cost; None where training diverged.
        max_accuracy_drop: float, what it might have cost.
    """

    classifier: keras.Model
    share: float
    learning_rate: float
    loss: rates.AccuracyLoss | None
    max_accuracy_drop: float

    def __str__(self):
        if self.share:
            return (
                f"Hardened at strength {self.share:g} of 1 and a learning rate "
                f"of {self.learning_rate:g}, which cost {self.loss} of clean "
                "accuracy in the cross-validation."
            )
        why = "training diverged"
        if self.loss is not None:
            why = f"it costs {self.loss}"
        return (
            f"Not hardened: even at a learning rate of {self.learning_rate:g} "
            f"{why}, where {100 * self.max_accuracy_drop:g} points of clean "
            "accuracy are the most. Triggers that the scan does not find are "
            "still there."
        )


def by_hardening(
    classifier,
    clean,
    run,
    *,
    max_accuracy_drop: float = 0.02,
    folds: int = 2,
    steps: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.03,
    rho: float = 2.0,
    label_share: float = 0.2,
) -> result.DefenseResult:
    """`Hardening` within a budget of clean accuracy; see `harden_within`.

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        max_accuracy_drop: float in [0, 1], clean accuracy that it may cost.
        folds: int >= 2, parts of the clean images of the cross-validation.
        steps: int > 0, batches.
        batch_size: int > 0, or less where images or network are large.
        learning_rate: float > 0 at the start.
        rho: float >= 0, see `SharpnessAwareTraining`.
        label_share: float in [0, 1], see `Hardening`.
    """
    hardened = harden_within(
        classifier,
        clean,
        run,
        max_accuracy_drop=max_accuracy_drop,
        folds=folds,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rho=rho,
        label_share=label_share,
    )
    return result.DefenseResult(
        {"hardened": hardened.classifier},
        {
            "share": hardened.share,
            "learning_rate": hardened.learning_rate,
            "held_out_loss": hardened.loss and hardened.loss.value,
        },
    )


def harden_within(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    run,
    *,
    max_accuracy_drop: float = 0.02,
    folds: int = 2,
    steps: int = 100,
    learning_rate: float = 0.03,
    **settings,
) -> Hardened:
    """A copy of a classifier, hardened as strongly as a budget allows.

    The strength is how much of the way from the weights before to the
    hardened ones is gone. It is chosen by cross-validation: each part of the
    clean images judges what was hardened on the others, in proportionally
    fewer steps. The strongest is taken whose cost is within the budget, see
    `strongest_share`; where none is, the learning rate is a tenth, then a
    hundredth.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched clean `(image, label)`.
        run: how images are drawn, and how it computes.
        max_accuracy_drop, folds, steps, learning_rate: see `by_hardening`.
        **settings: of `harden`.
    """
    parts = run.folds(clean, folds)
    fewer_steps = max(1, round(steps * (folds - 1) / folds))
    for factor in _GENTLER:
        rate = factor * learning_rate

        def tune(images, steps=fewer_steps, rate=rate):
            return harden(
                classifier,
                images,
                run,
                steps=steps,
                learning_rate=rate,
                **settings,
            )

        losses = _losses(classifier, parts, tune)
        share = strongest_share(losses, max_accuracy_drop)
        if share:
            hardened = between(classifier, tune(clean, steps), share)
            break
    else:
        hardened = copying.copy_classifier(classifier)
    loss = losses.get(share) or min(
        losses.values(), key=lambda loss: loss.value, default=None
    )
    return Hardened(hardened, share, rate, loss, max_accuracy_drop)


def _losses(classifier, parts, tune):
    """What each share costs in a cross-validation, `{}` where it diverges.

    Args:
        classifier: the classifier before.
        parts: for each part the others, to harden on, and it to judge.
        tune: function from images to a classifier that was hardened on them.
    """
    try:
        tuned = [tune(optimise) for optimise, _ in parts]
    except classifier_training.TrainingDivergedError:
        return {}

    counter = evaluation.BatchCounter(classifier, replaced=classifier.weights)
    images = batch_size_module.batch_size_for(classifier)

    def scores(share):
        return rates.pool(
            [
                counter.scores(
                    judge.batch(images), _weights(classifier, one, share)
                )
                for one, (_, judge) in zip(tuned, parts)
            ]
        )

    before = scores(0.0)
    return {
        share: rates.accuracy_loss(before, scores(share)) for share in _SHARES
    }


def harden(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    run,
    *,
    steps: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.03,
    rho: float = 2.0,
    label_share: float = 0.2,
    teacher: keras.Model | None = None,
    pruned: dict[str, np.ndarray] | None = None,
) -> keras.Model:
    """A copy of a classifier, hardened by `Hardening`.

    Args:
        classifier, clean, run: see `harden_within`.
        steps, batch_size, learning_rate, rho, label_share: see `by_hardening`.
        teacher: classifier whose answers are kept, default `classifier`.
        pruned: neurons that stay at zero, as `prune_neurons` gives them.

    Raises:
        TrainingDivergedError: where the loss does not stay finite.
    """
    hardened = copying.copy_classifier(classifier)
    batch_size = batch_size_module.batch_size_for(
        classifier, most=batch_size, training=True
    )
    training = hardening.Hardening(
        hardened,
        teacher or classifier,
        rho=rho,
        label_share=label_share,
        seed=run.seed,
        precision=run.precision,
        synchronised=run.synchronised,
        train_frozen=run.train_frozen,
    )
    training.compile(
        optimizers.CoupledSGD(
            keras.optimizers.schedules.CosineDecay(learning_rate, steps),
            l2=_WEIGHT_DECAY,
        )
    )
    batches = run.batches(clean, batch_size)
    training.fit(
        batches.repeat().take(steps),
        callbacks=[
            classifier_training.StopOnNaN(),
            pruning.HoldPruned(hardened, pruned or {}),
        ],
        verbose=run.verbose,
    )
    return hardened


def strongest_share(
    losses: dict[float, rates.AccuracyLoss], budget: float
) -> float:
    """The largest share whose loss is at most `budget`, else the least or 0.

    A few hundred images tell a loss to a few points: the least share is taken
    unless it exceeds the budget and some of its loss is sure, see
    `AccuracyLoss.exceeds`.
    """
    if not losses:
        return 0.0
    affordable = [s for s, loss in losses.items() if loss.value <= budget]
    if affordable:
        return max(affordable)
    least = min(losses)
    return 0.0 if losses[least].exceeds(budget) else least


def between(
    first: keras.Model, second: keras.Model, share: float
) -> keras.Model:
    """A copy whose weights lie between those of two alike classifiers.

    Args:
        first: classifier, at `share` 0; it is not changed.
        second: classifier, at `share` 1; it is not changed.
        share: float in [0, 1].
    """
    if not 0.0 <= share <= 1.0 or math.isnan(share):
        raise ValueError(f"`share` must lie in [0, 1]. Received: share={share}")
    copy = copying.copy_classifier(second)
    copy.set_weights(_weights(first, second, share))
    return copy


def _weights(first, second, share):
    """All weights at `share` of the way; whole numbers are the second's."""
    return [
        start + np.asarray(share, end.dtype) * (end - start)
        if keras.backend.is_float_dtype(str(end.dtype))
        else end
        for start, end in zip(
            first.get_weights(), second.get_weights(), strict=True
        )
    ]
