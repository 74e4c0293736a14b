"""Fine-tuning on clean images, as NAD makes its teacher."""

import keras
import numpy as np
import tensorflow as tf

from tfbackdoor.defenses import pruning
from tfbackdoor.defenses import result
from tfbackdoor.network import copying
from tfbackdoor.training import classifier_training
from tfbackdoor.training import optimizers


def paper_optimizer(
    learning_rate: float = 0.1, weight_decay: float = 1e-4
) -> keras.optimizers.Optimizer:
    """NAD's optimiser: SGD with Nesterov momentum 0.9, weight decay 1e-4."""
    return optimizers.CoupledSGD(
        learning_rate, momentum=0.9, nesterov=True, l2=weight_decay
    )


def step_decay(
    *, factor: float = 0.1, every: int = 2
) -> keras.callbacks.Callback:
    """Multiplies the learning rate by `factor` after every `every` epochs.

    The defaults are NAD's (Li et al. 2021, section 4.1).
    """
    if not 0.0 < factor <= 1.0 or every < 1:
        raise ValueError(
            "`factor` must lie in (0, 1] and `every` be >= 1. "
            f"Received: factor={factor}, every={every}"
        )

    def decayed(epoch, learning_rate):
        at_step = epoch > 0 and epoch % every == 0
        return learning_rate * factor if at_step else learning_rate

    return keras.callbacks.LearningRateScheduler(decayed)


def fine_tune(
    classifier: keras.Model,
    clean: tf.data.Dataset,
    *,
    validation: tf.data.Dataset | None = None,
    epochs: int = 10,
    optimizer: keras.optimizers.Optimizer | None = None,
    decay_factor: float = 0.1,
    decay_every: int = 2,
    pruned: dict[str, np.ndarray] | None = None,
    precision: str | None = None,
    train_frozen: bool = True,
    verbose="auto",
) -> keras.Model:
    """A copy of `classifier` with all weights fine-tuned on clean images.

    Args:
        classifier: built Keras classifier; it is not changed.
        clean: batched data set of `(images, labels)`, images in [0, 1].
        validation: batched clean images that `clean` does not hold, or None.
            With them the weights of the best epoch by accuracy are kept.
        epochs: int > 0 (5 to 10 in NAD).
        optimizer: default `paper_optimizer()`.
        decay_factor: float in (0, 1], see `step_decay`.
        decay_every: int > 0 epochs, see `step_decay`.
        pruned: neurons that stay at zero, as `prune_neurons` gives them.
        precision, train_frozen: see `ClassifierTraining`.
        verbose: Keras' verbosity.
    """
    tuned = copying.copy_classifier(classifier)
    fit = classifier_training.ClassifierTraining(
        tuned, precision=precision, train_frozen=train_frozen
    )
    fit.compile(optimizer=optimizer or paper_optimizer())
    callbacks = [
        step_decay(factor=decay_factor, every=decay_every),
        classifier_training.StopOnNaN(),
    ]
    if pruned is not None:
        callbacks.append(pruning.HoldPruned(tuned, pruned))
    if validation is not None:
        callbacks.append(_KeepBest(tuned))
    fit.fit(
        clean,
        validation_data=validation,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,
        verbose=verbose,
    )
    return tuned


def by_fine_tuning(
    classifier,
    clean,
    run,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    decay_factor: float = 0.1,
    decay_every: int = 2,
    weight_decay: float = 1e-4,
    cutout_holes: int = 1,
    cutout_length: int = 9,
    held_out: float = 0.0,
) -> result.DefenseResult:
    """All weights fine-tuned, as NAD's teacher is (Li et al. 2021).

    Args:
        classifier: see `defend`.
        clean: see `defend`.
        run: the other arguments of `defend`.
        epochs: int > 0 (5 to 10 in NAD).
        batch_size: int > 0 (64).
        learning_rate: float > 0 at the start (0.1).
        decay_factor: float in (0, 1], what multiplies it (0.1) ...
        decay_every: int > 0, ... after so many epochs (2).
        weight_decay: float >= 0 (1e-4).
        cutout_holes: int >= 0, holes of Cutout (1).
        cutout_length: int > 0, their side in pixels (9).
        held_out: float in [0, 1), share of the clean images by whose accuracy
            the best epoch is kept; 0 keeps the last.
    """
    validation = None
    if held_out:
        clean, judge, run = run.hold_out(clean, held_out)
        validation = judge.batch(256)
    tuned = fine_tune(
        classifier,
        run.batches(
            clean,
            batch_size,
            cutout_holes=cutout_holes,
            cutout_length=cutout_length,
        ),
        validation=validation,
        epochs=epochs,
        optimizer=paper_optimizer(learning_rate, weight_decay),
        decay_factor=decay_factor,
        decay_every=decay_every,
        precision=run.precision,
        train_frozen=run.train_frozen,
        verbose=run.verbose,
    )
    return result.DefenseResult({"after fine-tuning": tuned})


class _KeepBest(keras.callbacks.Callback):
    """Gives a classifier, at the end, the weights of its best epoch.

    Best is the highest `val_accuracy`, the first of equals. Keras'
    `EarlyStopping` does the same and cannot be saved halfway.
    """

    def __init__(self, classifier):
        super().__init__()
        self._classifier = classifier

    def on_train_begin(self, logs=None):
        self._accuracy = np.array(-np.inf)
        self._weights = self._classifier.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_accuracy"] > self._accuracy:
            self._accuracy = np.array(logs["val_accuracy"], "float64")
            self._weights = self._classifier.get_weights()

    def on_train_end(self, logs=None):
        self._classifier.set_weights(self._weights)

    def get_state(self):
        return [self._accuracy, *self._weights]

    def set_state(self, arrays):
        self._accuracy, *self._weights = arrays
