"""Hardening as strong as a budget of clean accuracy allows."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor import rates
from tfbackdoor.defenses import hardening
from tfbackdoor.defenses import pruning
from tfbackdoor.defenses import result
from tfbackdoor.defenses import strength
from tfbackdoor.network import batch_size as batch_size_module
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers

FOLDS = 2
_GENTLER = (1.0, 0.1, 0.01)
_WEIGHT_DECAY = 5e-4


@dataclasses.dataclass(frozen=True, eq=False)
class Hardened:
    """A hardened classifier, and how strongly it was hardened.

    Args:
        classifier: the hardened copy.
        share: float in [0, 1], how much of the way from the weights before to
            the hardened ones was gone; 0 where no strength was affordable.
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
    max_strength: float = 1.0,
    folds: int = FOLDS,
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
        max_strength: float in (0, 1], how much of the way to what was hardened
            may be gone, at the full learning rate.
        folds: int >= 2, parts of the clean images of the cross-validation.
        steps: int > 0, batches, of all folds together.
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
        max_strength=max_strength,
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
    max_strength: float = 1.0,
    folds: int = FOLDS,
    steps: int = 100,
    learning_rate: float = 0.03,
    **settings,
) -> Hardened:
    """A copy of a classifier, hardened as strongly as a budget allows.

    Each part of the clean images judges what was hardened on the others, and
    the mean of the weights so found is what is hardened, so that nothing is
    hardened only to choose by. The strength is how much of the way there is
    gone from the weights before: the strongest whose cost in this
    cross-validation is within the budget, see `strength.strongest`; where none
    is, the learning rate is a tenth, then a hundredth.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: unbatched clean `(image, label)`.
        run: how images are drawn, and how it computes.
        max_accuracy_drop, max_strength, folds, steps, learning_rate: see
            `by_hardening`.
        **settings: of `harden`.
    """
    others, judges = zip(*run.folds(clean, folds))
    for factor in _GENTLER:
        rate = factor * learning_rate
        tuned = _harden_or_diverge(
            classifier,
            others,
            run,
            steps=max(1, round(steps / folds)),
            learning_rate=rate,
            **settings,
        )
        most = max_strength if factor == 1.0 else 1.0
        shares = sorted({min(share, most) for share in strength.SHARES})
        losses = strength.losses(
            classifier, tuned, judges, run, shares, budget=max_accuracy_drop
        )
        share = strength.strongest(losses, max_accuracy_drop)
        if share:
            break
    loss = losses.get(share) or min(
        losses.values(), key=lambda loss: loss.value, default=None
    )
    hardened = strength.between(classifier, tuned, share)
    return Hardened(hardened, share, rate, loss, max_accuracy_drop)


def _harden_or_diverge(*arguments, **settings):
    """As `harden`, but no weights where training diverges."""
    try:
        return harden(*arguments, **settings)
    except classifier_training.TrainingDivergedError:
        return []


def harden(
    classifier: keras.Model,
    sets_of_images: Sequence[tf.data.Dataset],
    run,
    *,
    steps: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.03,
    rho: float = 2.0,
    label_share: float = 0.2,
    teacher: keras.Model | None = None,
    pruned: dict[str, np.ndarray] | None = None,
) -> list[list[np.ndarray]]:
    """The weights of a classifier after `Hardening` on each set of images.

    Args:
        classifier: built Keras classifier; it is not changed.
        sets_of_images: unbatched clean `(image, label)` each.
        run: how images are drawn, and how it computes.
        steps: int > 0, batches of each set.
        batch_size, learning_rate, rho, label_share: see `by_hardening`.
        teacher: classifier whose answers are kept, default `classifier`.
        pruned: neurons that stay at zero, as `prune_neurons` gives them.

    Returns:
        For each set the arrays of `get_weights`.

    Raises:
        TrainingDivergedError: where the loss does not stay finite.
    """
    hardened = copying.copy_classifier(classifier)
    start = hardened.get_weights()
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
    tuned = []
    for images in sets_of_images:
        hardened.set_weights(start)
        optimizers.restart(training.optimizer)
        training.fit(
            run.batches(images, batch_size).repeat().take(steps),
            callbacks=[
                classifier_training.StopOnNaN(),
                pruning.HoldPruned(hardened, pruned or {}),
            ],
            verbose=run.verbose,
        )
        tuned.append(hardened.get_weights())
    return tuned
